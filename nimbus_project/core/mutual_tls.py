"""TLS between nodes: both ends show a certificate of the operator's own authority, and trust nobody else's.

The authority says who belongs to this installation; names are not checked, for nodes come and go with their addresses.
"""

from __future__ import annotations

import ssl

from nimbus_project.config import Config


def is_configured(settings: Config) -> bool:
    """All three files are named."""
    return None not in (settings.direct_tls_ca, settings.direct_tls_cert, settings.direct_tls_key)


def context(settings: Config, purpose: ssl.Purpose) -> ssl.SSLContext:
    """For servers ``ssl.Purpose.CLIENT_AUTH``, for clients ``SERVER_AUTH``. Raises OSError, ssl.SSLError."""
    assert settings.direct_tls_cert is not None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if purpose is ssl.Purpose.CLIENT_AUTH else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(settings.direct_tls_ca)
    made.load_cert_chain(settings.direct_tls_cert, settings.direct_tls_key)
    return made
