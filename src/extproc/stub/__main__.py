"""`python -m extproc.stub --listen 127.0.0.1:8001`"""

import argparse
import os
import ssl
import sys

from aiohttp import web

from extproc.stub.app import application


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write host:port, such as 127.0.0.1:8001")
    return host.strip("[]"), int(port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "extproc.stub", description="An upstream with the APIs of OpenAI, Anthropic and Gemini that shows what it got."
    )
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 8001), help="host:port (default: %(default)s)")
    parser.add_argument("--cert", help="certificate chain (PEM), for TLS")
    parser.add_argument("--key", help="its private key (PEM)")
    return parser.parse_args()


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    arguments = _arguments()
    host, port = arguments.listen
    context = None
    if arguments.cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(arguments.cert, arguments.key)
        except OSError as error:
            sys.exit(f"error: {arguments.cert}, {arguments.key}: no certificate and its key in PEM ({error.strerror})")
    sys.stderr.write(f"stub upstream on {host}:{port}\n")
    try:
        web.run_app(application(), host=host, port=port, ssl_context=context, print=None, access_log=None)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        sys.exit(f"error: the stub upstream cannot listen on {host}:{port} ({why}): end what uses it")


if __name__ == "__main__":
    main()
