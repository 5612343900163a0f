"""The wire format of web push: a message that only one browser can read, and whom it comes from.

RFC 8291 (encryption), on RFC 8188 with one record, and RFC 8292 (VAPID).
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from yarl import URL

RECORD_SIZE = 4096
#: What a record has room for besides its tag and delimiter; push services take no more.
PAYLOAD_MAX = 3900
#: Seconds for which one signature is good; a day is the most that is allowed.
SIGNED_SECONDS = 12 * 3600

_CURVE = ec.SECP256R1()


@dataclass(frozen=True, slots=True)
class Keys:
    """What a browser gave for messages to it."""

    public: ec.EllipticCurvePublicKey
    secret: bytes

    @classmethod
    def read(cls, p256dh: str, auth: str) -> Keys:
        """Read both as browsers write them.

        Raises:
            ValueError: it is no point of the curve in base64url, or the secret has not 16 bytes.
        """
        secret = unbase64(auth)
        if len(secret) != 16:
            raise ValueError("the secret must have 16 bytes")
        return cls(ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, unbase64(p256dh)), secret)


def encrypt(
    payload: bytes, keys: Keys, *, own: ec.EllipticCurvePrivateKey | None = None, salt: bytes = b""
) -> bytes:
    """Return ``payload`` as a body in ``aes128gcm`` that only the holder of the keys' private half can read.

    Args:
        payload: at most ``PAYLOAD_MAX`` bytes.
        keys: the browser's.
        own: used for this message alone, as is ``salt``; new ones unless given.
        salt: 16 bytes.
    """
    if len(payload) > PAYLOAD_MAX:
        raise ValueError(f"a message has at most {PAYLOAD_MAX} bytes")
    own, salt = own or ec.generate_private_key(_CURVE), salt or os.urandom(16)
    sender, receiver = point(own.public_key()), point(keys.public)
    shared = own.exchange(ec.ECDH(), keys.public)
    ikm = _derive(shared, keys.secret, b"WebPush: info\0" + receiver + sender, 32)
    key = _derive(ikm, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(ikm, salt, b"Content-Encoding: nonce\0", 12)
    head = salt + RECORD_SIZE.to_bytes(4, "big") + bytes([len(sender)]) + sender
    return head + AESGCM(key).encrypt(nonce, payload + b"\x02", None)


def _derive(material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(material)


# --- who sends ----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    """Read a private key: 32 bytes in base64url.

    Raises:
        ValueError: it is not one.
    """
    raw = unbase64(text)
    if len(raw) != 32:
        raise ValueError("a private key has 32 bytes")
    return ec.derive_private_key(int.from_bytes(raw, "big"), _CURVE)


def new_keys() -> tuple[str, str]:
    """Return a new private key and its public one, in base64url."""
    key = ec.generate_private_key(_CURVE)
    return base64url(key.private_numbers().private_value.to_bytes(32, "big")), base64url(point(key.public_key()))


def public_key() -> str | None:
    """Return the key by which browsers recognise this server; None when none is set."""
    if not settings.VAPID_PRIVATE_KEY:
        return None
    return base64url(point(private_key(settings.VAPID_PRIVATE_KEY).public_key()))


def authorization(endpoint: str) -> str:
    """Return the header that says to a push service who sends."""
    claims = {
        "aud": str(URL(endpoint).origin()),
        "exp": int(time.time()) + SIGNED_SECONDS,
        "sub": settings.VAPID_SUBJECT,
    }
    head = base64url(_json({"typ": "JWT", "alg": "ES256"}))
    signed = f"{head}.{base64url(_json(claims))}"
    der = private_key(settings.VAPID_PRIVATE_KEY).sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    signature = b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(der))
    return f"vapid t={signed}.{base64url(signature)}, k={public_key()}"


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as the wire has it."""
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def base64url(raw: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unbase64(text: str) -> bytes:
    """Return the bytes of a base64url text, padded or not.

    Raises:
        ValueError: it is something else.
    """
    try:
        return base64.b64decode(
            text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True
        )
    except binascii.Error as error:
        raise ValueError("not base64url") from error


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
