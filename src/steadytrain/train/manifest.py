"""What makes a folder a checkpoint: a manifest, written last, with size and hash of every file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash

from steadytrain.errors import CheckpointError
from steadytrain.train.state import Layout

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK_BYTES = 4 * 2**20  # hashing is as fast as memory from 1 MiB on


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, itself verified.

    Raises:
        CheckpointError: missing, damaged, or of a later format.
    """
    try:
        raw = (path / MANIFEST).read_bytes()
    except FileNotFoundError as error:
        raise unusable(path, f"has no {MANIFEST}, so it was never finished (torn)") from error
    except OSError as error:
        raise unusable(path, f"has a {MANIFEST} that cannot be read ({error})") from error
    try:
        manifest: dict[str, Any] = json.loads(raw)
        body = {key: value for key, value in manifest.items() if key != "digest"}
        digest = xxhash.xxh3_128_hexdigest(encode(body))
        is_sound = raw == encode({**body, "digest": digest})
    except (ValueError, AttributeError):  # no JSON, no text, no object
        is_sound = False
    if not is_sound:
        raise unusable(path, f"has a damaged {MANIFEST}: its hash does not match its words")
    if manifest["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {manifest['format']}, this version reads up to {FORMAT}: it would "
            "misread it. Restore with the version of steadytrain that wrote it."
        )
    return manifest


def inspect(path: Path, files: Mapping[str, list[Any]]) -> None:
    """Compare files with what the manifest says; sizes first, since they cost nothing.

    Raises:
        CheckpointError: the first file that is missing, cut, damaged or unreadable.
    """
    name = ""
    try:
        for name, (size, _) in files.items():
            found = (path / name).stat().st_size
            if found != size:
                raise unusable(path, f"holds {found} of {name}'s {size} bytes (truncated)")
        for name, (_, digest) in files.items():
            if hash_file(path / name) != digest:
                raise unusable(path, f"holds a damaged {name}: its xxh3-128 has changed")
    except FileNotFoundError as error:
        raise unusable(path, f"is missing the file {name}") from error
    except OSError as error:
        raise unusable(path, f"holds {name}, which cannot be read ({error})") from error


def unusable(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} {why}; what it would restore is not what was saved. Restore an older one."
    )


def hash_file(path: Path) -> str:
    hasher, buffer = xxhash.xxh3_128(), memoryview(bytearray(CHUNK_BYTES))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
    return hasher.hexdigest()


def encode(manifest: Mapping[str, Any]) -> bytes:
    """The one spelling of a manifest; any flipped bit makes another."""
    return json.dumps(manifest, sort_keys=True, allow_nan=False).encode()


def spell(entries: Layout) -> dict[str, list[Any]]:
    return {
        name: [list(shape), str(dtype).removeprefix("torch.")]
        for name, (shape, dtype) in entries.items()
    }


def unspell(entries: Mapping[str, list[Any]]) -> Layout:
    return {name: (tuple(shape), getattr(torch, dtype)) for name, (shape, dtype) in entries.items()}
