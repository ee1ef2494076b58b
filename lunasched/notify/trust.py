"""The certificates that are trusted: the system's, so that an own authority has one place."""

from __future__ import annotations

import ssl
from pathlib import Path


def system_certificates() -> str | None:
    """A file or directory of certificates; ``None`` where the system has none.

    It is OpenSSL's own choice, which ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` change.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile and Path(paths.cafile).is_file():
        return paths.cafile
    if paths.capath and any(Path(paths.capath).glob("*.[0-9]")):
        return paths.capath
    return None


def context() -> ssl.SSLContext:
    """Return the context that checks the certificate and the name of a server."""
    found = ssl.create_default_context()
    if system_certificates() is None:
        import certifi  # requests needs it

        found.load_verify_locations(certifi.where())
    return found


def refused(error: ssl.SSLError) -> str:
    """Return the reason why a connection was not trusted, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    reason = (error.reason or "it does not speak TLS").replace("_", " ").lower()
    return f"no encrypted connection: {reason}"
