"""A real SMTP server for the tests: aiosmtpd with STARTTLS and AUTH, failing as it is told.

Arguments: a folder. It holds cert.pem and key.pem; mails are written there as N.eml,
those that it was told not to take as refused-N.eml.
Standard input: a line of JSON for what to answer: {"RCPT bob@example.com": ["550 no"], "DATA": ["451 later"]}.
Standard output: the port, once it listens.
"""

import asyncio
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    def __init__(self, folder, script):
        self.folder = folder
        self.script = script
        self.count = 0
        self.refused = 0

    def scripted(self, key):
        answers = self.script.get(key)
        return answers.pop(0) if answers else None

    async def handle_RCPT(self, server, session, envelope, address, options):
        with open(self.folder / "rcpt.log", "a") as log:
            print(address, file=log)
        answer = self.scripted(f"RCPT {address}")
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = self.scripted("DATA")
        if answer:
            self.refused += 1
            path = self.folder / f"refused-{self.refused}.eml"
            path.write_bytes(envelope.original_content)
            return answer
        self.count += 1
        path = self.folder / f"{self.count}.eml"
        head = "".join(f"X-Rcpt-To: {rcpt}\r\n" for rcpt in envelope.rcpt_tos)
        tls = "yes" if session.ssl else "no"
        head += f"X-Tls: {tls}\r\nX-Authenticated: {session.authenticated}\r\n"
        partial = path.with_suffix(".part")
        partial.write_bytes(head.encode() + envelope.original_content)
        partial.rename(path)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == b"bell" and data.password == b"p@ss word"
    return AuthResult(success=good, handled=False)


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
            authenticator=authenticate,
            enable_SMTPUTF8=True,
        ),
        host="127.0.0.1",
        port=0,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # It ends with whoever started it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
