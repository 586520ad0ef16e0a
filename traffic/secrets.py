"""Secrets of devices: the application's key encrypts what a door must be able to read back (HA1 of HTTP Digest)."""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from traffic.errors import TrafficError

REALM = "traffic"  # of HTTP Digest; HA1 is bound to it, so a change needs new device passwords
_FORMAT = b"\x01"
_NONCE_BYTES = 12


class SecretUnreadable(TrafficError):
    """A stored secret can't be decrypted: the application's key is another one, or the bytes are damaged."""


def derived_key(secret_key: str, purpose: str) -> bytes:
    """32 bytes for one purpose out of the application's key, so that no key serves two."""
    return hashlib.blake2b(purpose.encode(), key=hashlib.sha256(secret_key.encode()).digest(), digest_size=32).digest()


def encrypt(secret_key: str, text: bytes) -> bytes:
    """Encrypt with AES-256-GCM: format byte, nonce, ciphertext with its tag."""
    nonce = os.urandom(_NONCE_BYTES)
    return _FORMAT + nonce + AESGCM(derived_key(secret_key, "device-secret")).encrypt(nonce, text, _FORMAT)


def decrypt(secret_key: str, data: bytes) -> bytes:
    """The text of `encrypt`; raises SecretUnreadable when the key is another one or the bytes are damaged."""
    nonce, body = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
    if data[:1] != _FORMAT or len(nonce) != _NONCE_BYTES:
        raise SecretUnreadable("a device secret is stored in an unknown format")
    try:
        return AESGCM(derived_key(secret_key, "device-secret")).decrypt(nonce, body, _FORMAT)
    except InvalidTag as error:
        raise SecretUnreadable("a device secret was encrypted with another TRAFFIC_SECRET_KEY") from error


def ha1(user: str, realm: str, password: str) -> str:
    """H(user:realm:password) of RFC 7616 section 3.4.2 with MD5, which GA/T 1400 devices speak; lower-case hex."""
    return hashlib.md5(f"{user}:{realm}:{password}".encode(), usedforsecurity=False).hexdigest()


def key_hash(key: str) -> bytes:
    """What is stored of a native sender's key (`Authorization: Bearer <key>`)."""
    return hashlib.sha256(key.encode()).digest()


def same(left: bytes, right: bytes) -> bool:
    """Compare secrets in a time that tells nothing."""
    return hmac.compare_digest(left, right)
