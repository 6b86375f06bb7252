"""The one store of all kept work: named trees of arrays, written whole or not at all and checked before use."""

import contextlib
import errno
import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import ml_dtypes  # noqa: F401 - teaches numpy the names of bfloat16 and its like
import numpy as np

from dec_jax.data.atomic import atomic_write, remove_orphans

FORMAT = 2
SUFFIX = ".npz"
HEADER, DIGEST = "header", "digest"

Arrays = dict[str, np.ndarray]
Metadata = dict[str, Any]


class Store:
    """Named entries in a folder, each a pytree of arrays with JSON metadata.

    An entry is one file, `NAME.npz`, which `numpy.load(path, allow_pickle=False)` opens. It is replaced whole or not
    at all, and carries SHA-256 digests of its arrays and of its metadata. An entry that is damaged or cannot be read
    counts as absent; it is never removed, but `put` takes its place.

    Args:
        folder: where entries are kept, made with the first one; None keeps them in the memory of this store.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.folder = None if folder is None else Path(folder).expanduser().absolute()
        self._in_memory: dict[str, tuple[Arrays, Metadata]] = {}
        self._is_clean = False

    def put(self, name: str, tree: Any, metadata: Metadata, *, required: bool = True) -> None:
        """Keeps an entry, in place of one of the same name.

        Args:
            name: a file's name without its ending.
            tree: a pytree of arrays of any shape, with a plain dtype.
            metadata: JSON values or numpy scalars, which come back as Python's; floats are kept to the last bit.
            required: whether the entry must reach the disk. Where it need not and cannot, it is kept in the memory of
                this store, with one warning.

        Raises:
            TypeError: an array holds Python objects, or the metadata something that is not JSON.
            ValueError: `name` is not the name of a file.
            OSError: the folder cannot be written; the entry before stays as it was.
        """
        _check_name(name)
        if self.folder is None:
            self._remember(name, tree, metadata)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            write_tree(self.folder / (name + SUFFIX), tree, metadata)
        except OSError as error:
            reason = error.strerror or str(error)
            if required:
                raise OSError(error.errno, reason, str(self.folder)) from error
            if not self._in_memory:
                warnings.warn(f"going on without a store: {self.folder} cannot be written ({reason})", stacklevel=2)
            self._remember(name, tree, metadata)
        else:
            self._in_memory.pop(name, None)

    def _remember(self, name: str, tree: Any, metadata: Metadata) -> None:
        # Copies: training reuses the memory of its arrays.
        arrays = {path: np.array(leaf) for path, leaf in named_leaves(tree).items()}
        self._in_memory[name] = arrays, json.loads(_json(metadata))

    def get(self, name: str, template: Any = None) -> tuple[Any, Metadata] | None:
        """Returns the tree, with numpy arrays as leaves, and the metadata of an entry; None where it is absent.

        An entry that is damaged, cannot be read, or does not fit the template counts as absent, with a warning.

        Args:
            name: of the entry.
            template: a pytree of the same structure; without it, containers come back as nested dicts.
        """
        _check_name(name)
        if name in self._in_memory:
            arrays, metadata = self._in_memory[name]
            try:
                return assemble(arrays, template), metadata
            except ValueError as error:
                warnings.warn(f"the entry {name} does not fit, and counts as absent: {error}", stacklevel=2)
                return None
        return self._look(name, lambda path: read_tree(path, template))

    def metadata(self, name: str) -> Metadata | None:
        """Returns the metadata of an entry without reading its arrays; None where it is absent, as in `get`."""
        _check_name(name)
        if name in self._in_memory:
            return self._in_memory[name][1]
        return self._look(name, read_metadata)

    def names(self) -> list[str]:
        """Returns the names of all entries, damaged ones included, in alphabetical order."""
        found = set(self._in_memory)
        if self.folder is not None and self.folder.is_dir():
            found |= {path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"[!.]*{SUFFIX}")}
        return sorted(found)

    def remove(self, name: str) -> None:
        """Forgets an entry, if there is one.

        Raises:
            OSError: it cannot be removed.
        """
        _check_name(name)
        self._in_memory.pop(name, None)
        if self.folder is not None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (self.folder / (name + SUFFIX)).unlink()

    def _look(self, name: str, read: Callable[[Path], Any]) -> Any:
        if self.folder is None:
            return None
        try:
            return read(self.folder / (name + SUFFIX))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            warnings.warn(f"{self.folder / name}{SUFFIX} {reason}; it counts as absent", stacklevel=3)
        except ValueError as error:
            warnings.warn(f"{error}; it counts as absent", stacklevel=3)
        return None

    def _clean(self) -> None:
        if not self._is_clean:
            remove_orphans(self.folder)
        self._is_clean = True


def write_tree(path: Path, tree: Any, metadata: Metadata) -> None:
    """Writes the file of an entry; see `Store.put`."""
    arrays = named_leaves(tree)
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"arrays must have a plain dtype, got {array.dtype} for {name!r}")
    leaves = [[name, array.dtype.name if _is_extension(array) else None] for name, array in arrays.items()]
    content = {"format": FORMAT, "arrays": leaves, "digest": _digest(arrays), "metadata": metadata}
    header = _json(content).encode()
    # numpy's format knows no dtypes of extensions: their bytes are kept.
    numbered = {
        str(number): array.view(np.dtype(f"u{array.dtype.itemsize}")) if _is_extension(array) else array
        for number, array in enumerate(arrays.values())
    }
    digest = np.frombuffer(hashlib.sha256(header).digest(), np.uint8)
    with atomic_write(path) as file:
        np.savez(file, **{HEADER: np.frombuffer(header, np.uint8), DIGEST: digest}, **numbered)


def read_tree(path: Path, template: Any = None) -> tuple[Any, Metadata]:
    """Returns the tree and the metadata of an entry's file; see `Store.get`.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged, or does not fit the template.
    """
    with _opened(path) as archive:
        header = _read_header(archive)
        arrays = {}
        for number, (name, extension) in enumerate(header["arrays"]):
            array = archive[str(number)]
            arrays[name] = array.view(np.dtype(extension)) if extension else array
        if _digest(arrays) != header["digest"]:
            raise ValueError("its arrays do not match their digest")
    try:
        return assemble(arrays, template), header["metadata"]
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def read_metadata(path: Path) -> Metadata:
    """Returns the metadata of an entry's file; raises as `read_tree` does."""
    with _opened(path) as archive:
        return _read_header(archive)["metadata"]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The archive of a file; whatever goes wrong with its content is a ValueError that names the file."""
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                # Nothing here is compressed: a small file cannot unfold to a large one.
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.zip.infolist()):
                    raise ValueError("it is compressed")
                yield archive
        except OSError as error:
            if error.errno not in (None, errno.EINVAL):  # those two are of offsets that cannot be
                raise
            raise ValueError(f"{path} is damaged: {error}") from error
        except Exception as error:  # what numpy, zipfile and json raise for damaged bytes is not one family
            raise ValueError(f"{path} is damaged: {error or type(error).__name__}") from error


def _read_header(archive: Any) -> dict[str, Any]:
    content = archive[HEADER].tobytes()
    if hashlib.sha256(content).digest() != archive[DIGEST].tobytes():
        raise ValueError("its metadata do not match their digest")
    header = json.loads(content)
    if header["format"] != FORMAT:
        raise ValueError(f"it has format {header['format']}, this version reads format {FORMAT}")
    return header


def _names(tree: Any) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]


def named_leaves(tree: Any) -> Arrays:
    """Returns the leaves of a pytree as numpy arrays, by their paths joined with "/".

    Raises:
        ValueError: two leaves have the same name.
    """
    names = _names(tree)
    if len(set(names)) != len(names):
        raise ValueError("keys of a tree must not make two of its leaves the same name when they are joined by '/'")
    return dict(zip(names, map(np.asarray, jax.tree.leaves(tree)), strict=True))


def assemble(arrays: Arrays, template: Any = None) -> Any:
    """Returns the pytree whose `named_leaves` the arrays are: nested dicts, or the template's structure.

    Raises:
        ValueError: the template has other leaves.
    """
    if template is not None:
        names = _names(template)
        if sorted(names) != sorted(arrays):
            raise ValueError(f"holds other arrays than expected: {sorted(set(names) ^ set(arrays))}")
        return jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in names])
    if list(arrays) == [""]:  # the tree is one array
        return arrays[""]
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = array
    return tree


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _is_extension(array: np.ndarray) -> bool:
    return array.dtype.kind == "V" and array.dtype.names is None and array.dtype.name != f"void{8 * array.itemsize}"


def _json(metadata: Metadata) -> str:
    return json.dumps(metadata, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"metadata must be JSON values or numpy scalars, got {type(value).__name__}")


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or set(name) & {"/", "\\", "\0"}:
        raise ValueError(f"name must be the name of a file, without a dot in front, got {name!r}")
