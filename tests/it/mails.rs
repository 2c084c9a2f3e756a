//! The mails that tocsin sends, held against what others wrote: a real Postfix, which is strict about
//! them and delivers them, Python's own `email` package in its strictest policy, and Pillow. They are
//! installed by `tests/run`; a test whose tool is missing fails.

use serde_json::{Value, json};

use crate::harness::{Mail, Place, Postfix, Tocsin, crash, event, now, python};

/// A tocsin that mails Alice, Bob and Carol, whom the server does not know.
fn telling(postfix: &Postfix, rule: &str) -> (Place, Tocsin) {
    let place = Place::new(&format!(
        "server: {{ external_url: \"https://alerts.example.com/é\" }}\n\
         receivers:\n  oncall:\n    email:\n      smtp_url: {:?}\n      \
         from: '\"Tócsin, the bell\" <alerts@example.com>'\n      \
         to: [\"Alice Ü. <alice@example.com>\", carol@example.com, bob@example.com]\n\
         defaults: {{ notify: oncall, group_wait: 1s, group_interval: 1s }}\n\
         rules: [{{ name: \"crashed é\", severity: critical, when: {{ state: CRASHED }},\n\
         \x20        runbook_url: \"https://wiki.example.com/crashed?a=1&b=2\" {rule} }}]\n",
        postfix.url()
    ))
    .with_environment("SSL_CERT_FILE", postfix.certificate().to_str().unwrap());
    let tocsin = place.serve();
    (place, tocsin)
}

/// Reads each mail, and fails on whatever Python's `email` finds wrong with it: headers, encodings,
/// boundaries, ids. The picture has to be the one that the HTML shows, in the colours of its states.
const READ: &str = r#"
import email, email.policy, html.parser, io, json, sys
from PIL import Image
strict = email.policy.SMTP.clone(raise_on_defect=True)

class Html(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links, self.words = [], [], [], ''
        self.feed(text)
        self.close()
        assert self.open == [], self.open
    def handle_starttag(self, tag, attributes):
        assert tag != 'script' and not any(name.startswith('on') for name, _ in attributes)
        if tag == 'img':
            self.images.append(dict(attributes))
        if tag == 'a':
            self.links.append(dict(attributes)['href'])
        if tag not in ('img', 'meta', 'br'):
            self.open.append(tag)
    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
    def handle_data(self, data):
        self.words += data

case = json.load(sys.stdin)
for text in case['mails']:
    raw = text.encode('ascii').replace(b'\n', b'\r\n')
    assert max(map(len, raw.split(b'\r\n'))) <= 998
    mail = email.message_from_bytes(raw, policy=strict)
    for part in mail.walk():
        assert part.defects == [], part.defects
        for name, value in part.items():
            assert value.defects == (), (name, value, value.defects)
    for name in ['From', 'To', 'Subject', 'Date', 'Message-ID', 'MIME-Version', 'References',
                 'In-Reply-To', 'Auto-Submitted', 'List-Id']:
        assert len(mail.get_all(name)) == 1, name
    assert mail['Date'].datetime is not None
    assert [str(it) for it in mail['To'].addresses] == case['to'], mail['To']
    assert str(mail['From'].addresses[0]) == case['from'], mail['From']
    assert mail.get_content_type() == 'multipart/alternative'
    plain, rich = mail.iter_parts()
    words = plain.get_content()
    if rich.get_content_type() == 'text/html':
        assert not case['pictured']
        Html(rich.get_content())
        continue
    assert rich.get_content_type() == 'multipart/related'
    assert rich.get_param('type') == 'text/html'
    shown, picture = rich.iter_parts()
    page = Html(shown.get_content())
    assert [it['src'] for it in page.images] == ['cid:' + picture['Content-ID'].strip('<>')]
    assert page.images[0]['alt'] and page.images[0]['width'] == '560'
    assert all(link.startswith('https://') for link in page.links), page.links
    # All lines of the text are in the HTML as well.
    for line in words.split('\n'):
        assert ' '.join(line.split()) in ' '.join(page.words.split()), line
    assert picture.get_content_type() == 'image/png' and picture.is_attachment() is False
    png = picture.get_content()
    assert len(png) < 8192, len(png)
    image = Image.open(io.BytesIO(png), formats=['PNG'])
    image.load()
    assert (image.size, image.mode) == ((1120, 120), 'RGBA'), (image.size, image.mode)
    colours = {colour for _, colour in image.getcolors()}
    for colour in case['colours']:
        assert tuple(bytes.fromhex(colour)) + (255,) in colours, (colour, colours)
    assert image.getpixel((0, 119))[3] == 0, 'it has no ground of its own'
"#;

fn read(mails: &[Mail], colours: &[&str]) {
    let texts: Vec<&str> = mails.iter().map(|mail| mail.text.as_str()).collect();
    python(
        READ,
        &json!({
            "mails": texts,
            "from": "\"Tócsin, the bell\" <alerts@example.com>",
            "to": ["\"Alice Ü.\" <alice@example.com>", "carol@example.com", "bob@example.com"],
            "colours": colours,
            "pictured": !colours.is_empty(),
        }),
    );
}

fn at(mut event: Value, before_now: f64) -> Value {
    event["timestamp"] = json!(now() - before_now);
    event
}

const RUNNING: &str = "2e8b57";
const STARTING: &str = "4682b4";
const CRASHED: &str = "d32f2f";

#[test]
fn a_real_mail_server_delivers_to_each_who_is_known_and_the_thread_holds() {
    let postfix = Postfix::new();
    let (_place, tocsin) = telling(&postfix, "");
    tocsin.hear(&at(event("web-1", "CREATING", "STARTING"), 50.0));
    tocsin.hear(&at(event("web-1", "STARTING", "RUNNING"), 40.0));
    tocsin.hear(&at(crash("web-1"), 2.0));
    let (alice, bob) = (postfix.wait_for_mails("alice", 1), postfix.wait_for_mails("bob", 1));
    read(&alice, &[STARTING, RUNNING, CRASHED]);
    read(&bob, &[STARTING, RUNNING, CRASHED]);
    let delivery = tocsin.wait_for_delivery("oncall", "sent");
    assert_eq!(delivery["attempts"], 1);
    let complaint = delivery["last_error"].as_str().unwrap();
    assert!(complaint.contains("carol@example.com: "), "{complaint}");
    assert!(complaint.contains("User unknown"), "{complaint}");
    let delivered_to = |mails: &[Mail]| mails[0].header("Delivered-To").unwrap();
    assert_eq!(delivered_to(&alice), "alice@example.com");
    assert_eq!(delivered_to(&bob), "bob@example.com");
    assert_eq!(alice[0].header("Message-ID"), bob[0].header("Message-ID"));
    assert_eq!(alice[0].header("Return-Path").unwrap(), "<alerts@example.com>");

    tocsin.hear(&event("web-1", "STARTING", "RUNNING"));
    let both = postfix.wait_for_mails("alice", 2);
    read(&both, &[STARTING, RUNNING, CRASHED]);
    assert_eq!(both[0].header("References"), both[1].header("References"));
    assert_eq!(both[0].header("Subject"), both[1].header("Subject"));
    assert_ne!(both[0].header("Message-ID"), both[1].header("Message-ID"));
    let text = both[1].text_part();
    assert!(text.starts_with("OVER crashed é: 1 container of shop/web\n"), "{text}");
    assert!(text.contains("CRASHED, for "), "{text}");
}

#[test]
fn a_real_mail_server_takes_names_of_any_kind() {
    let postfix = Postfix::new();
    let (_place, tocsin) = telling(&postfix, "");
    for number in 0..60 {
        let name = format!("c{number}-<!here>&\"'\u{1}\u{202e}é\r\n.\r\nRCPT {}", "x".repeat(90));
        let mut event = crash(&name);
        event["service"] = json!("web\r\nBcc: eve@example.com\r\n\r\n<b> =?utf-8?q?x?= \u{1f525}");
        event["prev_state"] = json!("<odd>\u{7} é");
        tocsin.hear(&event);
    }
    tocsin.wait_for_delivery("oncall", "sent");
    read(&postfix.wait_for_mails("bob", 1), &["9a5cd0", CRASHED]);
}

#[test]
fn a_real_mail_server_takes_a_long_message_of_the_rules_own() {
    let postfix = Postfix::new();
    let line = "é <&> = . ".repeat(400);
    let (place, tocsin) =
        telling(&postfix, &format!(", message: {:?}", format!("{line}\n.\n{line}")));
    tocsin.hear(&crash("web-1"));
    let mails = postfix.wait_for_mails("alice", 1);
    read(&mails, &[CRASHED]);
    assert!(
        mails[0].text_part().contains(&format!("\n.\n{}", line.trim_end())),
        "{}",
        mails[0].text
    );

    let (code, _, stderr) = place.run(&["send", "rules.yaml", "--receiver", "oncall"]);
    assert!(code == 1 && stderr.contains("refused for carol@example.com"), "{stderr}");
    read(&postfix.wait_for_mails("alice", 2)[1..], &[]);
}
