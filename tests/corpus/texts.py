"""What stands around the values, and texts that only look as if they held some."""

import json
import string
import uuid
from collections.abc import Callable
from random import Random
from typing import Final

from tests.corpus.values import ALNUM, card, digits, ethereum, form, iban, routing, some

LABELS: Final[dict[str, tuple[str, ...]]] = {
    "EMAIL_ADDRESS": ("email", "E-Mail", "courriel", "correo", "contact", "From"),
    "CREDIT_CARD": ("card", "credit card", "Kreditkarte", "carte bancaire", "tarjeta", "pan", "payment"),
    "IBAN_CODE": ("IBAN", "account", "Konto", "compte", "cuenta"),
    "US_SSN": ("SSN", "social security number", "ssn_number", "tax id", "soc. no."),
    "US_ITIN": ("ITIN", "taxpayer id", "tax id", "id"),
    "UK_NINO": ("NI number", "National Insurance", "NINO", "ref"),
    "PHONE_NUMBER": ("phone", "tel", "Telefon", "mobile", "téléphone", "móvil", "cell", "contact"),
    "IP_ADDRESS": ("client", "ip", "from", "remote_addr", "host"),
    "MAC_ADDRESS": ("mac", "device", "hwaddr", "station"),
    "CRYPTO": ("wallet", "send to", "address", "btc", "eth"),
    "DATE_OF_BIRTH": (
        "date of birth",
        "DOB",
        "born on",
        "birthday",
        "geboren am",
        "née le",
        "fecha de nacimiento",
        "d.o.b.",
    ),
    "US_PASSPORT": ("passport", "passport number", "Passport No."),
    "US_DRIVER_LICENSE": ("driver's license", "driver license number", "drivers_license", "DL #"),
    "US_BANK_NUMBER": ("account number", "bank account", "acct no", "Account #", "checking"),
    "ABA_ROUTING_NUMBER": ("routing number", "ABA", "RTN", "routing"),
    "GENERIC_SECRET": (
        "api_key",
        "secret",
        "auth_token",
        "password",
        "client_secret",
        "Authorization: Bearer",
        "X-Api-Key",
    ),
}
KEY: Final = ("key", "token", "secret", "credential", "use this")
OTHERS: Final = (
    "the meeting is at 10:30",
    "order 100234",
    "see ticket 4711",
    "version 2.4.1",
    "thanks!",
    "total 19.99 EUR",
)

FRAMES: Final = (
    "Please write to the customer. {label}: {value}. Keep it short.",
    "Hi, my {label} is {value}, can you check why it does not work?",
    "{label} {value}",
    "Kundendaten: {label} {value}; bitte prüfen.",
    "Bonjour, voici mes données : {label} {value}, merci.",
    "Hola, mi {label} es {value}.",
    "2024-03-01T10:22:31.123Z INFO [worker-7] user=4711 {label}={value} status=200",
    "| field | value |\n|---|---|\n| {label} | {value} |",
    "{label}:\t{value}\nname:\tJane Roe",
    'const user = {{ {ident}: "{value}" }}; // from the form',
    "SELECT * FROM people WHERE {ident} = '{value}' LIMIT 10;",
    "{ident}: {value}\nregion: eu-west-1\n",
    "first_name,last_name,{ident},city\nJane,Roe,{value},Springfield",
    "He wrote ({label}: {value}) and {other}, then {other}.",
    "Сообщение: {label} {value}。谢谢",
)
MESSAGE: Final = "Summarize: {label} {value}; {other}"


def _number(low: int, high: int) -> Callable[[Random], str]:
    return lambda rng: digits(rng, rng.randint(low, high))


def _wrong(right: Callable[[Random], str]) -> Callable[[Random], str]:
    """With one digit changed, so that the check digits are wrong."""

    def make(rng: Random) -> str:
        value = right(rng)
        at = rng.choice([place for place, letter in enumerate(value) if letter.isdigit() and place > 3])
        return value[:at] + str((int(value[at]) + 1) % 10) + value[at + 1 :]

    return make


def _swapped(rng: Random) -> str:
    """An address whose letters are of both cases, but not as they should be."""
    address = ethereum(rng)
    while address == address.lower():
        address = ethereum(rng)
    lower, upper = (
        next(at for at, letter in enumerate(address[2:], 2) if is_so(letter)) for is_so in (str.islower, str.isupper)
    )
    letters = list(address)
    letters[lower], letters[upper] = address[lower].upper(), address[upper].lower()
    return "".join(letters)


UNSET: Final = (
    "os.environ['API_KEY']",
    "<your-api-key-here>",
    "settings.api_key_from_vault",
    "xxxxxxxxxxxxxxxxxxxxxxxx",
)
NO_PASSWORDS: Final = ("changeme", "see the wiki page on passwords", "********", "${DB_PASSWORD}")

LOOKALIKES: Final[tuple[tuple[str, Callable[[Random], str]], ...]] = (
    ("Order {} was shipped.", _number(8, 12)),
    ("order_id={}", _number(9, 19)),
    ('{{"id": {}, "created": 1700000000}}', _number(16, 19)),
    ("ISBN {}", lambda rng: form(rng, "978-3-16-######-#", "9783#########", "0-306-#####-#")),
    ("request {} took 31 ms", lambda rng: str(uuid.UUID(bytes=rng.randbytes(16)))),
    ("pip install package=={}", lambda rng: form(rng, "#.#.#.#", "##.#.##", "#.##.#rc#")),
    ("version {} is out", lambda rng: form(rng, "#.#.#.#", "v#.##.#")),
    ("commit {}", lambda rng: rng.randbytes(20).hex()),
    ("sha256:{}", lambda rng: rng.randbytes(32).hex()),
    ("The price is {} EUR.", lambda rng: form(rng, "#,###.##", "N##.##", "N.###.###,##")),
    ("Released on {}.", lambda rng: form(rng, "20##-0N-1#", "1#.0N.20##", "0N/1#/20##")),
    ("{} ERROR timeout", lambda rng: form(rng, "2024-0N-1#T1#:2#:3#.######Z", "2024/0N/1# 1#:2#:3#")),
    ("timestamp {}", lambda rng: form(rng, "17##########", "17########", "17##########.######")),
    ("tracking number {}", lambda rng: form(rng, "1Z###AA1##########", "9400 1### #### #### #### ##", "############")),
    ("ZIP {}", lambda rng: form(rng, "N####-####", "N####")),
    ("part number {}", lambda rng: form(rng, "000-##-####", "N##-####-A", "##-###-####")),
    ("[{}]", lambda rng: ", ".join(f"{rng.uniform(-1, 1):.16f}" for _ in range(4))),
    ("lat/long {}", lambda rng: f"{rng.uniform(-90, 90):.7f}, {rng.uniform(-180, 180):.7f}"),
    ("data:image/png;base64,{}", lambda rng: some(rng, ALNUM + "+/", 120)),
    ("doi:{}", lambda rng: form(rng, "10.####/j.cell.20##.0#.###")),
    ("See `{}`.", lambda rng: rng.choice(("icon@2x.png", "@app.route", "git@host", "user@localhost", "@types/node@18.2.1"))),
    ("card no {}", _wrong(card)),
    ("IBAN {}", _wrong(iban)),
    ("routing number {}", _wrong(routing)),
    ("wallet {}", _swapped),
    ("api_key = {}", lambda rng: rng.choice(UNSET)),
    ("password: {}", lambda rng: rng.choice(NO_PASSWORDS)),
    ("max_tokens: {}", _number(3, 4)),
    ("time {} and ratio 16:9", lambda rng: form(rng, "1#:2#:3#", "1#:2#:3#:4#", "0#:0#:0#.###")),
    ("color {}", lambda rng: "#" + rng.randbytes(3).hex()),
    ("room {}, seat {{}}".replace("{{}}", "12"), _number(2, 4)),
    ("pages {}", lambda rng: form(rng, "1##-1##", "N##–N##")),
    ("IMEI {}", lambda rng: form(rng, "35#############", "86#############")),
    ("snowflake {}", lambda rng: str(rng.randint(4 * 10**17, 2 * 10**18))),
    ("std::vector<{}>::iterator", lambda rng: rng.choice(("int", "a::b", "abc::def"))),
    ("The license plate is {}.", lambda rng: some(rng, string.ascii_uppercase, 3) + " " + digits(rng, 4)),
    ("account notes: {}", lambda rng: f"closed in {rng.randint(1990, 2024)}"),
    ("born {}", lambda rng: rng.choice(("to run", "and raised in Ohio", "in the 1980s"))),
    ("call me {}", lambda rng: rng.choice(("tomorrow at 10", "Ishmael", "on 2 of the 3 days"))),
)  # fmt: skip


def as_message(text: str) -> str:
    """A request of a chat with `text` in it."""
    return json.dumps({"model": "m-1", "messages": [{"role": "user", "content": text}], "max_tokens": 256})
