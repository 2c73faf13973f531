"""Why the certificate of a server is not accepted: the one thing by which an operator can mend it."""


def refusal(error: BaseException) -> str:
    """What OpenSSL found (`: certificate has expired`), to be put behind a sentence of ours; empty if it was asked nothing.

    The client libraries raise errors of their own while they handle `ssl.SSLCertVerificationError`, whose `verify_message` it
    is: so it is in the context of each.
    """
    found: BaseException | None = error
    while found is not None:
        if told := getattr(found, "verify_message", ""):
            return f": {told}"
        found = found.__context__
    return ""
