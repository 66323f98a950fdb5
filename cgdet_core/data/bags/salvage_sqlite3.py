"""SQLite bags that were cut short or damaged, read page by page without the tree that leads to the rows.

Source: sqlite.org/fileformat.html: sections 1.5 (cells of a table's leaf page, which begins with 13), 1.6
(overflow pages), 2.1 (records) and 4 (write-ahead log); the tables are those of rosbag2_storage_sqlite3.
Rows of `messages`, `topics` and `message_definitions` are known by the types of their columns, so that
neither the schema nor an inner page is needed. No other kind of page begins with 13: an overflow page
begins with a page number, which is below 13 * 2**24 in any file of less than 800 GB.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cgdet_core.data.bags.salvage_parts import MAX_MESSAGE_BYTES, FileScan
from cgdet_core.data.bags.sqlite_records import kinds_of, read_log, read_record, read_varint

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"SQLite format 3\0"
_LEAF = 0x0D
_TREE_PAGES = (0x02, 0x05, 0x0A, 0x0D)
_USUAL_PAGE_BYTES = 4096
_BLOCK_PAGES = 1024
_TYPE = re.compile(r"[A-Za-z0-9_]+/(msg/)?[A-Za-z0-9_]+")
_FORMATS = {"ros2msg": "MSG", "ros2idl": "IDL"}


class Sqlite3Scan(FileScan):
    """One .db3 file with the write-ahead log beside it, if any."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._topics: dict[int, tuple[str, str, str]] = {}
        self._definitions: dict[str, tuple[str, str]] = {}
        self._rows: list[int] = [0, 0]  # messages, the highest number of one
        self._set_pages()
        log = path.with_name(path.name + "-wal")
        self._log = read_log(log, self._page_bytes)
        if self._log is not None and self._log.places:
            self._lose(f"its last messages lay in the log {log.name}: they are read")
        # page -> the page that follows it where it is an overflow page
        self._next_page: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._known: NDArray[np.bool_] = np.zeros(0, np.bool_)  # pages of a tree or of a row

    def _set_pages(self) -> None:
        start = self._file.read(100).ljust(100, b"\0")
        (page_bytes,) = struct.unpack_from(">H", start, 16)
        page_bytes = 65536 if page_bytes == 1 else page_bytes
        self._page_bytes, self._usable_bytes = _USUAL_PAGE_BYTES, _USUAL_PAGE_BYTES
        if start.startswith(MAGIC) and page_bytes >= 512 and page_bytes & (page_bytes - 1) == 0 and start[20] <= 32:
            self._page_bytes, self._usable_bytes = page_bytes, page_bytes - start[20]
        else:
            self._lose("does not begin as an SQLite file does" if self._size else "is empty")
            return
        (pages,) = struct.unpack_from(">I", start, 28)
        if start[24:28] == start[92:96] and self._size < pages * page_bytes:
            self._lose(f"is cut short: {self._size} bytes of {pages * page_bytes}", pages * page_bytes - self._size)

    def close(self) -> None:
        super().close()
        if self._log is not None:
            self._log.file.close()

    def scan(self) -> None:
        leaves = self._scan_pages()
        for page in leaves:
            self._leaf(int(page))
        rows, highest = self._rows
        if highest > rows:
            self._lose("rows are missing among those that are there", messages=highest - rows)
        if unknown := int(np.count_nonzero(~self._known[1:])):
            self._lose("pages belong to no row that can be read", unknown * self._page_bytes)
        self._connect()

    def data(self, place: tuple[int, int, int]) -> bytes:
        page, offset, size_bytes = place
        message = read_record(self._payload(self._page(page), offset, size_bytes))[1][3]
        assert isinstance(message, bytes)  # as the scan found it
        return message

    def _page(self, number: int) -> bytes:
        """A page, numbered from 1, as the log has it, else the file."""
        if self._log is not None and number in self._log.places:
            self._log.file.seek(self._log.places[number])
            return self._log.file.read(self._page_bytes)
        self._file.seek((number - 1) * self._page_bytes)
        return self._file.read(self._page_bytes)

    def _scan_pages(self) -> NDArray[np.int64]:
        """Numbers of the leaf pages; reads the file once, front to back."""
        page_bytes = self._page_bytes
        in_log = self._log.places if self._log is not None else {}
        # a log adds no more pages than it has: a damaged number would ask for memory without bound
        most = self._size // page_bytes + len(in_log)
        in_log = {number: place for number, place in in_log.items() if 0 < number <= most}
        pages = max(self._size // page_bytes, max(in_log, default=0))
        self._next_page = np.zeros(pages + 1, np.uint32)
        kinds = np.zeros(pages + 1, np.uint8)
        self._file.seek(0)
        first = 1
        while block := self._file.read(_BLOCK_PAGES * page_bytes):
            rows = np.frombuffer(block, np.uint8, len(block) // page_bytes * page_bytes).reshape(-1, page_bytes)
            stop = first + len(rows)
            self._next_page[first:stop] = np.ascontiguousarray(rows[:, :4]).view(">u4")[:, 0]
            kinds[first:stop] = rows[:, 0]
            if first == 1 and len(rows):
                kinds[1] = rows[0, 100]  # behind the file's header
            first = stop
        for number in in_log:
            page = self._page(number)
            self._next_page[number] = struct.unpack_from(">I", page)[0]
            kinds[number] = page[100 if number == 1 else 0]
        self._known = np.isin(kinds, _TREE_PAGES)
        return np.flatnonzero(kinds == _LEAF)

    def _leaf(self, number: int) -> None:
        page = self._page(number)
        start = 100 if number == 1 else 0
        (cells,) = struct.unpack_from(">H", page, start + 3)
        table = page[start + 8 : start + 8 + 2 * cells]
        if 2 * cells > len(page) - start - 8:
            self._lose(f"page {number} is damaged", self._page_bytes)
            return
        for (cell,) in struct.iter_unpack(">H", table):
            try:
                size_bytes, offset = read_varint(page, cell)
                row, offset = read_varint(page, offset)
                self._row(number, page, offset, size_bytes, row)
            except (ValueError, IndexError, struct.error) as error:
                self._lose(f"a row on page {number} is damaged ({error})", messages=None)

    def _row(self, number: int, page: bytes, offset: int, size_bytes: int, row: int) -> None:
        if size_bytes > MAX_MESSAGE_BYTES:
            raise ValueError("it has no sensible length")
        types, columns = read_record(page[offset : offset + self._local_bytes(size_bytes)])
        kinds = kinds_of(types)
        chain = self._chain(page, offset, size_bytes)
        if kinds == "niib":
            self._rows = [self._rows[0] + 1, max(self._rows[1], row)]
            topic, time_ns = columns[1], columns[2]
            assert isinstance(topic, int)
            assert isinstance(time_ns, int)
            if chain is None:
                what = f"message {row} lies in part on pages that are lost"
                self._lose(what, messages=1, first_ns=time_ns, last_ns=time_ns)
            else:
                self.found.add(time_ns, topic, number, offset, size_bytes)
        elif kinds.startswith("ntt") and set(kinds[3:]) <= {"t"} and 4 <= len(kinds) <= 6:
            whole = read_record(self._payload(page, offset, size_bytes))[1]
            words = [word.decode() for word in whole if isinstance(word, bytes)]
            if words[0].startswith("/") and _TYPE.fullmatch(words[1]):
                self._topics[row] = (words[0], words[1], words[4] if len(words) > 4 else "")
            elif len(words) == 4 and _TYPE.fullmatch(words[0]) and words[1] in _FORMATS:
                self._definitions[words[0]] = (words[1], words[2])

    def _local_bytes(self, size_bytes: int) -> int:
        """How many bytes of a row lie on its leaf page (section 1.6); the others lie on overflow pages."""
        usable = self._usable_bytes
        if size_bytes <= usable - 35:
            return size_bytes
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size_bytes - least) % (usable - 4)
        return local if local <= usable - 35 else least

    def _chain(self, page: bytes, offset: int, size_bytes: int) -> list[int] | None:
        """The numbers of the overflow pages of a row; None where the file lacks one."""
        local = self._local_bytes(size_bytes)
        if local == size_bytes:
            return []
        (number,) = struct.unpack_from(">I", page, offset + local)
        chain = []
        for _ in range(-(-(size_bytes - local) // (self._usable_bytes - 4))):
            if not 0 < number < len(self._next_page):
                return None
            chain.append(number)
            number = int(self._next_page[number])
        if number:
            return None
        self._known[chain] = True
        return chain

    def _payload(self, page: bytes, offset: int, size_bytes: int) -> bytes:
        chain = self._chain(page, offset, size_bytes)
        if chain is None:
            raise ValueError("it lies in part on pages that are lost")
        parts = [page[offset : offset + self._local_bytes(size_bytes)]]
        if self._log is None and chain and chain[-1] - chain[0] == len(chain) - 1 and sorted(chain) == chain:
            # written one behind the other, as they are nearly always
            self._file.seek((chain[0] - 1) * self._page_bytes)
            block = self._file.read(len(chain) * self._page_bytes)
            starts = range(0, len(block), self._page_bytes)
            parts += [block[start + 4 : start + self._usable_bytes] for start in starts]
        else:
            parts += [self._page(number)[4 : self._usable_bytes] for number in chain]
        payload = b"".join(parts)[:size_bytes]
        if len(payload) < size_bytes:
            raise ValueError("it is cut short")
        return payload

    def _connect(self) -> None:
        from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat

        for number, count in self.found.counts().items():
            if number not in self._topics:
                self._lose(f"the name of topic {number} stood on a page that is lost", messages=count)
                continue
            name, message_type, digest = self._topics[number]
            form, text = self._definitions.get(message_type, ("", ""))
            definition = MessageDefinition(MessageDefinitionFormat[_FORMATS.get(form, "NONE")], text)
            extra = ConnectionExtRosbag2("cdr", [])
            self.connections[number] = Connection(number, name, message_type, definition, digest, count, extra, self)
