"""Made-up values of every entity, and texts that have none."""

import base64
import json

CARD = "4111 1111 1111 1111"
EMAIL = "jane.roe@example.org"
JWT = ".".join(
    [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256"}, {"sub": "1"})
    ]
    + ["c2lnbmF0dXJl"]
)
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq\n-----END RSA PRIVATE KEY-----"

VALUES = {
    "EMAIL_ADDRESS": [EMAIL, "o'brien+x@mail.example.co.uk", "jöhn@müller.de", "a@b.co"],
    "CREDIT_CARD": [
        CARD, "4111111111111111", "5500-0000-0000-0004", "3782 822463 10005", "6011 0009 9013 9424",
        "4.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1",
    ],
    "IBAN_CODE": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "NO93 8601 1117 947"],
    "US_SSN": ["123-45-6789", "078-05-1120"],
    "US_ITIN": ["912-70-1234"],
    "UK_NINO": ["AB 12 34 56 C", "ab123456c"],
    "PHONE_NUMBER": [
        "+1 555 123 4567", "(415) 555-2671", "415-555-2671", "+44 (0)20 7946 0958",
        "020 7946 0958", "0049 30 123456", "06 12 34 56 78",
    ],
    "IP_ADDRESS": ["203.0.113.77", "2001:db8::1", "2001:0db8:0000:0000:0000:ff00:0042:8329"],
    "MAC_ADDRESS": ["00:1B:44:11:3A:B7", "00-1b-44-11-3a-b7"],
    "URL_CREDENTIALS": ["bob:s3cret"],
    "CRYPTO": [
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0x52908400098527886E0F7030069857D2E4169EE7",
    ],
    "AWS_ACCESS_KEY": ["AKIAIOSFODNN7EXAMPLE"],
    "GCP_API_KEY": ["AIza" + "a1B" * 11 + "xy", "GOCSPX-" + "a1B_" * 7, "ya29.a0" + "Af_H6" * 12],
    "AZURE_KEY": [
        "aB3d" * 13 + "JQQJ99BKACYeBjFXJ3w3AAABACOGx1y2", "aB3d" * 19 + "+AStaB3dEQ==", "aB38Q~" + "aB3_" * 8 + "aB",
    ],
    "GITHUB_TOKEN": ["ghp_" + "a1B2" * 9, "github_pat_" + "a1B_" * 20],
    "GITLAB_TOKEN": ["glpat-" + "aB3_" * 5],
    "SLACK_TOKEN": ["xoxb-123456789012-abcdefABCDEF"],
    "STRIPE_KEY": ["sk_live_" + "aB3d" * 6],
    "OPENAI_API_KEY": ["sk-proj-" + "aB3d" * 12],
    "ANTHROPIC_API_KEY": ["sk-ant-api03-" + "aB3d" * 12],
    "JWT": [JWT],
    "PRIVATE_KEY": [PEM],
}  # fmt: skip

IN_CONTEXT = {
    "CREDIT_CARD": ("my card is ", "41 1111 1111 1111 11"),
    "US_SSN": ('"ssn": ', "123456789"),
    "US_ITIN": ("ITIN ", "912701234"),
    "PHONE_NUMBER": ("call me at ", "555-1234"),
    "DATE_OF_BIRTH": ("born on ", "March 3, 1980"),
    "US_PASSPORT": ("passport no. ", "A12345678"),
    "US_DRIVER_LICENSE": ("driver's license ", "D1234567"),
    "ABA_ROUTING_NUMBER": ("routing number: ", "021000021"),
    "AZURE_KEY": ("AccountName=x;AccountKey=", "aB3/" * 21 + "aB=="),
    "GENERIC_SECRET": ("api_key = '", "q7Jd9xkPz2LmWb4TnRv8sYcE"),
    "US_BANK_NUMBER": ("account number ", "123456789012"),
    "AWS_ACCESS_KEY": ("aws_secret_access_key = ", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
}

NEAR_MISSES = {
    "EMAIL_ADDRESS": ["jane@host", "@example.org", "jane@@example.org", "icon@2x.png", "a@b.c", "jane@.org"],
    "CREDIT_CARD": [
        "4111 1111 1111 1112", "1234 5678 1234 5670", "41111111111111111111111", "0.4111111111111111", "card 41 11",
        "a4111111111111111f0", "4111-1111-1111-111", "card_id: 4111111111111",
    ],
    "IBAN_CODE": [
        "DE88 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130", "XX89 3704 0044 0532 0130 00", "DE893704004405320130001",
    ],
    "US_SSN": [
        "000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567",
        "123-45-0000", "123 45 6789", "123-45-67890", "1123-45-6789",
    ],
    "US_ITIN": ["912-49-1234", "912-66-1234", "912-93-1234", "812-70-1234", "id 912701234"],
    "UK_NINO": ["BG 12 34 56 C", "AO 12 34 56 C", "AB 12 34 56 E", "DB 12 34 56 C", "xAB123456C", "AB 12 34 5 C"],
    "PHONE_NUMBER": [
        "555-1234", "+1 234", "(115) 555-2671", "1234567890",
        "415-155-2671", "2024-01-15 10:30", "cellular 5551234x",
    ],
    "IP_ADDRESS": [
        "256.1.1.1", "1.2.3", "1.2.3.4.5", "127.0.0.1",
        "version 1.2.3.4", "dead::beef", "12:34:56", "1:2:3:4:5:6:7", "::1",
    ],
    "MAC_ADDRESS": ["00:1B:44:11:3A", "00:1B:44:11:3A:B7:C8", "00:1B-44:11:3A:B7", "00:00:00:00:00:00", "1234.5678.9012"],
    "URL_CREDENTIALS": ["https://db.example.com:8080/x", "https://bob@db.example.com", "see: bob:x@", "http://h/a:b@c"],
    "CRYPTO": [
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp", "0x52908400098527886E",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", "0x" + "ab" * 32,
    ],
    "DATE_OF_BIRTH": ["released March 3, 1980", "born to run in 1980", "birthday 12345", "dob: no", "adobe 2020-01-01"],
    "US_PASSPORT": ["passport 1234567", "passport of 2 people", "A12345678", "passport AB1234567"],
    "US_DRIVER_LICENSE": ["driver's license 1234", "license D1234567", "driver's license of Jane"],
    "US_BANK_NUMBER": ["account number 1234567", "account notes 123456789012", "123456789012"],
    "ABA_ROUTING_NUMBER": ["routing number 021000022", "021000021", "routing number 02100002", "routing 991000012"],
    "AWS_ACCESS_KEY": [
        "AKIAIOSFODNN7EXAMPL", "AKIAIOSFODNN7EXAMPLEE", "xAKIAIOSFODNN7EXAMPLE", "secret_access_key = " + "a" * 40,
    ],
    "GCP_API_KEY": ["AIza" + "a" * 34, "AIza" + "a" * 36, "GOCSPX-abc", "ya29.short"],
    "AZURE_KEY": ["AccountKey=" + "a" * 86 + "==", "AccountKey=short==", "aB3" * 10 + "JQQJ99", "ab8Q~" + "x" * 20],
    "GITHUB_TOKEN": ["ghp_" + "a" * 35, "xghp_" + "a" * 36, "ghx_" + "a" * 36, "github_pat_short"],
    "GITLAB_TOKEN": ["glpat-short", "xglpat-" + "a" * 20, "glxxx-" + "a" * 20],
    "SLACK_TOKEN": ["xoxb-short", "xoxz-123456789012", "hooks.slack.com/services/T0"],
    "STRIPE_KEY": ["sk_live_short", "sk_demo_" + "a" * 24, "xsk_live_" + "a" * 24],
    "OPENAI_API_KEY": ["sk-short", "sk-" + "a" * 30, "task-" + "aB3d" * 8, "sk-ant-" + "aB3d" * 8],
    "ANTHROPIC_API_KEY": ["sk-ant-short", "xsk-ant-" + "a" * 30],
    "JWT": ["eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9.e30.sig", "xx.eyJzdWIiOiIxIn0.sig", "eyJub3RqF.eyJzdWIiOiIxIn0.x"],
    "PRIVATE_KEY": ["-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", "BEGIN PRIVATE KEY", "--BEGIN PRIVATE KEY--"],
    "GENERIC_SECRET": [
        "q7Jd9xkPz2LmWb4TnRv8sYcE", "api_key = os.environ['API_KEY_NAME_1']", "max_tokens: 12345678901234567890",
        "token = " + "a1" * 12, "secret: see the configuration1234567890", "password: <your-password-here-1>",
    ],
}  # fmt: skip
"""Texts with something that is nearly a value of the entity, but none."""

ORDINARY = [
    "The quick brown fox jumps over the lazy dog. It is 5 o'clock; 12 people met on 2024-01-15 in room 101.",
    "Order 1234567890 of 2024-01-15T10:30:00.123456Z, invoice 2024-000123, total 1,299.00 EUR, tracking 1700000000000.",
    "id 550e8400-e29b-41d4-a716-446655440000 and 12345678-1234-1234-1234-123456789012",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, git 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "version 1.2.3.4, v10.0.1.2, 1.2.3.4.5, package==1.2.3.4, react@18.2.0, icon@2x.png",
    "def f(x: list[int]) -> int:\n    return x[0] @ y  # see std::vector, a::b, dead::beef\n@app.route('/x')\n",
    "pi is 3.141592653589793, e is 2.718281828459045, and 0.4111111111111111 is a fraction",
    "12:34:56 and 10:20:30:40; 127.0.0.1:8080, 0.0.0.0; ratio 16:9, 3:2:1",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; 100 200 300 400 500; 1,000,000,000,000,000",
    ".sk-folding-cube-animation-delayed { color: #aabbcc } sk-learn-is-a-typo-of-scikit",
    "https://example.com/path?q=1&r=2#frag and mailto: nobody; C:\\new\\temp\\users; 50% of 100%25",
    "Привет, как дела? 你好，世界。 こんにちは 123 مرحبا",
    '{"created": 1700000000, "usage": {"total_tokens": 1234}, "embedding": [0.0123456789012345, -0.4916338506082832]}',
    '{"contact_id": 1234567, "phoneId": 5551234567, "card_id": 4111111111111111111, "call": 1700000000}',
    "key-value pairs: a=b, c_d=e_f, AKIA is a prefix, eyJ is another, 0xdeadbeef, 0x1234567890abcdef",
    "0x e3b0c44298fc1c149afbf4c8996fb924 aa:bb:cc 4111 1111 1111 1112 DE89 3704 0044 0532 0130 01",
]
