"""What is in a file or folder, as a hash: what has been carried somewhere under it need not be carried again."""

import hashlib
from pathlib import Path

CHUNK_BYTES = 1 << 20


def content_of(path: Path) -> str:
    """16 hex digits of a file, or of all files of a folder with their names."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(str(file.relative_to(path)).encode())
            with file.open("rb") as content:
                while chunk := content.read(CHUNK_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()[:16]
