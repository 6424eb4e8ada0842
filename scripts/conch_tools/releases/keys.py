"""The keys of signed releases: Ed25519 in PEM files, as `openssl genpkey -algorithm ed25519` writes them as well.

The only module that needs the package cryptography.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from conch_tools.errors import SettingsError, in_words
from conch_tools.server.workspace import write_private

PUBLIC_SUFFIX = ".pub"


def new_key(file: Path) -> Path:
    """Write a key to sign with, readable by its owner only, and beside it the one to verify with; returns that one.
    Raises SettingsError when there is one."""
    if file.exists():
        raise SettingsError(f"{file} is there already: what was signed with it could not be signed again")
    key = Ed25519PrivateKey.generate()
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_private(file, private.decode())
    beside = file.with_name(file.name + PUBLIC_SUFFIX)
    beside.write_bytes(public)
    return beside


def private_key(file: Path) -> Ed25519PrivateKey:
    """The key in a file. Raises SettingsError for one that cannot be used."""
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except OSError as problem:
        raise SettingsError(f"the key cannot be read: {in_words(problem)}") from problem
    except (ValueError, TypeError) as problem:
        raise SettingsError(f"{file} holds no private key, or one with a password") from problem
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{file} is no Ed25519 key: `conch sign --new-key` makes one")
    return key


def signed_by(place: Path) -> Callable[[bytes, bytes], bool]:
    """Whether a signature of a content is by the key in a file, or by one of those in a folder. Raises SettingsError
    for keys that cannot be used, and for none."""
    files = sorted(place.glob(f"*{PUBLIC_SUFFIX}")) if place.is_dir() else [place]
    keys = [_public_key(file) for file in files]
    if not keys:
        raise SettingsError(f"CONCH_SIGNATURE_KEYS: there is no key (*{PUBLIC_SUFFIX}) in {place}")
    return lambda signature, content: any(_is_by(key, signature, content) for key in keys)


def _public_key(file: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, TypeError) as problem:
        raise SettingsError(f"CONCH_SIGNATURE_KEYS: {file} holds no public key") from problem
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"CONCH_SIGNATURE_KEYS: {file} is no Ed25519 key")
    return key


def _is_by(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True
