"""TMX, the exchange format of translation memories (OPUS, DGT, in-house tools)."""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import xml.etree.ElementTree as ElementTree

from nmt5.core.errors import ConfigError, DataError
from nmt5.data.sources.compressed_files import open_file
from nmt5.data.sources.text_files import FileSource

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
# Their content is markup of the original format (TMX 1.4b, section 2.2); that of <hi> is text.
_INLINE_CODES = frozenset(("bpt", "ept", "it", "ph", "ut"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TmxSource(FileSource):
    """Translation units with their variants in one or two languages.

    A variant's language is compared without case, in full first, then without its region, so that
    `fr` takes `FR` and `fr-CA`. Of several variants the first counts. Inline codes are left out,
    white space becomes single spaces.

    Attributes:
      codes: the codes that the files have, if they differ from `languages`.

    Raises:
      ConfigError: another number of codes than languages.
    """

    codes: tuple[str, ...] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.codes is not None and len(self.codes) != len(self.languages):
            raise ConfigError(
                f"TmxSource: {len(self.codes)} codes for {len(self.languages)} languages"
            )

    def read(self, split: str, shard: str, dropped: Counter[str]) -> Iterator[dict[str, str]]:
        """Yields the units of a file that have all languages; see the base class.

        Raises:
          DataError: not well-formed XML (file, line and column), or no TMX.
          StorageError: the file is missing.
        """
        path = self.existing(shard)
        codes = [code.lower() for code in self.codes or self.languages]
        with open_file(path) as file:
            try:
                root = None
                for event, element in ElementTree.iterparse(file, events=("start", "end")):
                    if root is None:
                        root = element
                        if element.tag != "tmx":
                            raise DataError(f"{path}: <{element.tag}>, expected <tmx>")
                    if event == "end" and element.tag == "tu":
                        texts = _texts(element, codes)
                        missing = [c for c in codes if c not in texts]
                        if missing:
                            dropped[f"no {missing[0]} variant"] += 1
                        elif not all(texts.values()):
                            dropped["empty"] += 1
                        else:
                            yield dict(zip(self.languages, (texts[code] for code in codes)))
                        # Bounded memory: the body keeps no unit that was read.
                        element.clear()
                        for body in root.iterfind("body"):
                            body.clear()
            except ElementTree.ParseError as error:
                line, column = error.position
                raise DataError(
                    f"{path}: line {line}, column {column + 1}: not well-formed XML ({error}); "
                    "the file may be cut off"
                ) from error


def _texts(unit: ElementTree.Element, codes: list[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    variants = [
        ((v.get(_XML_LANG) or v.get("lang") or "").lower().replace("_", "-"), v.find("seg"))
        for v in unit.iterfind("tuv")
    ]
    for code in codes:
        exact = [segment for language, segment in variants if language == code]
        regional = [segment for language, segment in variants if language.startswith(f"{code}-")]
        for segment in (exact + regional)[:1]:
            texts[code] = "" if segment is None else " ".join(_text(segment).split())
    return texts


def _text(element: ElementTree.Element) -> str:
    inner = "".join(
        ("" if child.tag in _INLINE_CODES else _text(child)) + (child.tail or "")
        for child in element
    )
    return (element.text or "") + inner
