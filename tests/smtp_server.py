"""A real SMTP server for the tests: aiosmtpd with STARTTLS and AUTH, failing as it is told.

Arguments: a folder. It holds cert.pem and key.pem; mails are written there as N.eml,
those that it was told not to take as refused-N.eml, and what was answered to each as a line of log.jsonl.
Standard input: a line of JSON for what to answer: {"RCPT bob@example.com": ["550 no"], "DATA": ["451 later"]},
or for what goes wrong in each conversation in turn: {"in turn": [null, ["DATA", "451 later"]]}, at AUTH, RCPT
or DATA. Beside replies there are "hang", "reset" and "drip", a good answer so slow that nobody waits for it.
Standard output: the port, once it listens.
"""

import asyncio
import email
import email.policy
import json
import logging
import pathlib
import ssl
import sys
import time

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    def __init__(self, folder, script):
        self.folder = folder
        self.script = script
        self.in_turn = iter(script.get("in turn", []))
        self.count = 0
        self.refused = 0

    def scripted(self, key):
        answers = self.script.get(key)
        return answers.pop(0) if answers else None

    def in_its_turn(self, session, stage):
        at, answer = session.fault or (None, None)
        return answer if at == stage else None

    def log(self, stage, answer, envelope, content=None):
        entry = {"at": time.time(), "stage": stage, "answer": answer, "from": envelope.mail_from}
        if content:
            mail = email.message_from_bytes(content, policy=email.policy.default)
            entry["id"] = mail["Message-ID"]
            entry["text"] = mail.get_body(("plain",)).get_content()
        with open(self.folder / "log.jsonl", "a") as log:
            print(json.dumps(entry), file=log)

    async def handle_RCPT(self, server, session, envelope, address, options):
        with open(self.folder / "rcpt.log", "a") as log:
            print(address, file=log)
        answer = self.scripted(f"RCPT {address}") or self.in_its_turn(session, "RCPT")
        if answer:
            self.log("RCPT", answer, envelope)
            return await said(server, answer)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = self.scripted("DATA") or self.in_its_turn(session, "DATA")
        content = envelope.original_content
        if answer:
            self.log("DATA", answer, envelope, content)
            self.refused += 1
            path = self.folder / f"refused-{self.refused}.eml"
            path.write_bytes(content)
            return await said(server, answer)
        self.count += 1
        path = self.folder / f"{self.count}.eml"
        head = "".join(f"X-Rcpt-To: {rcpt}\r\n" for rcpt in envelope.rcpt_tos)
        tls = "yes" if session.ssl else "no"
        head += f"X-Tls: {tls}\r\nX-Authenticated: {session.authenticated}\r\n"
        partial = path.with_suffix(".part")
        partial.write_bytes(head.encode() + content)
        partial.rename(path)
        self.log("DATA", "250 taken", envelope, content)
        return "250 taken"

    def authenticate(self, server, session, envelope, mechanism, data):
        session.fault = next(self.in_turn, None)
        answer = self.in_its_turn(session, "AUTH")
        if answer:
            self.log("AUTH", answer, envelope)
            return AuthResult(success=False, handled=False, message=answer)
        good = data.login == b"bell" and data.password == b"p@ss word"
        return AuthResult(success=good, handled=False)


async def said(server, answer):
    """What there is to reply, if it is a reply; else it does not return before the other side is gone."""
    if answer == "reset":
        server.transport.abort()
    elif answer == "drip":
        for byte in b"250 taken, with all the time in the world\r\n":
            server.transport.write(bytes([byte]))
            await asyncio.sleep(0.1)
    elif answer != "hang":
        # What is beyond ASCII is then no UTF-8.
        return answer.encode("latin-1")
    await asyncio.Event().wait()


# aiosmtpd warns, at each mail, of what only it still uses.
logging.disable(logging.WARNING)


async def main():
    folder = pathlib.Path(sys.argv[1])
    script = json.loads(sys.stdin.readline())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    handler = Handler(folder, script)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(
            handler,
            hostname="localhost",
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=handler.authenticate,
            enable_SMTPUTF8=True,
        ),
        host="127.0.0.1",
        port=0,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # It ends with whoever started it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
