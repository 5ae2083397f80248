"""XMP: what of a scan's packet stays true of its colour copy, and word of where the colours come from.

A packet is taken apart into its properties (Adobe's XMP Specification Part 1 = ISO 16684-1) and put together again:
a property's element is carried as it is, whatever it holds, so that what is not known here survives. Packets come from
files that anyone made: no entities, no document types, ``MAX_BYTES`` and ``MAX_PROPERTIES`` at most. What is damaged
or beyond that is not carried, and does not cost the photograph.
"""

import codecs
import hashlib
from collections.abc import Iterable
from typing import NamedTuple
from xml.sax.saxutils import escape

from lxml import etree

from colorize_core import iptc

MAX_BYTES = 2 << 20  # of a packet; real ones have some thousand, or embed pictures, which are left out anyway
MAX_PROPERTIES = 5000

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

SYSTEM = "colorize"
"""What a photograph names as the maker of its colours."""

_NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "stRef": "http://ns.adobe.com/xap/1.0/sType/ResourceRef#",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "MP": "http://ns.microsoft.com/photo/1.2/",
}
_XML = "http://www.w3.org/XML/1998/namespace"
_LANG = f"{{{_XML}}}lang"


def _name(prefixed: str) -> str:
    """``dc:title`` to ``{http://purl.org/dc/elements/1.1/}title``."""
    prefix, name = prefixed.split(":")
    return f"{{{_NAMESPACES[prefix]}}}{name}"


_RDF, _DESCRIPTION, _ABOUT = _name("rdf:RDF"), _name("rdf:Description"), _name("rdf:about")
_HAS_EXTENSION = _name("xmpNote:HasExtendedXMP")

# Untrue of a file that stores the photograph anew: its pixels, and pictures and settings for viewers beside them.
_STORED = """
    tiff:ImageWidth tiff:ImageLength tiff:BitsPerSample tiff:Compression tiff:PhotometricInterpretation
    tiff:Orientation tiff:SamplesPerPixel tiff:PlanarConfiguration tiff:YCbCrSubSampling tiff:YCbCrPositioning
    tiff:YCbCrCoefficients tiff:XResolution tiff:YResolution tiff:ResolutionUnit tiff:TransferFunction tiff:WhitePoint
    tiff:PrimaryChromaticities tiff:ReferenceBlackWhite tiff:NativeDigest exif:NativeDigest exif:PixelXDimension
    exif:PixelYDimension exif:ColorSpace exif:ComponentsConfiguration exif:CompressedBitsPerPixel exif:Gamma
    photoshop:ColorMode photoshop:ICCProfile photoshop:LegacyIPTCDigest dc:format xmp:Thumbnails
    xmpNote:HasExtendedXMP
"""
_OF_STORED_FILES = set(map(_name, _STORED.split()))
_OF_VIEWERS = {
    "http://ns.adobe.com/camera-raw-settings/1.0/",  # would be applied to the colours as well
    "http://ns.adobe.com/camera-raw-saved-settings/1.0/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",  # and the following: say that more pictures follow in the file
    "http://ns.apple.com/HDRGainMap/1.0/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/camera/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/",
}
_PLACES = {*map(_name, ["mwg-rs:Regions", "MP:RegionInfo", "Iptc4xmpExt:ImageRegion"])}  # in the picture as stored

# IPTC Photo Metadata Standard 2025.1, "IIM and XMP": data sets of the application record, and their properties.
_OF_IPTC = {
    5: "dc:title", 10: "photoshop:Urgency", 25: "dc:subject", 40: "photoshop:Instructions", 55: "photoshop:DateCreated",
    80: "dc:creator", 85: "photoshop:AuthorsPosition", 90: "photoshop:City", 92: "Iptc4xmpCore:Location",
    95: "photoshop:State", 100: "Iptc4xmpCore:CountryCode", 101: "photoshop:Country",
    103: "photoshop:TransmissionReference", 105: "photoshop:Headline", 110: "photoshop:Credit", 115: "photoshop:Source",
    116: "dc:rights", 120: "dc:description", 122: "photoshop:CaptionWriter",
}  # fmt: skip
_LIST = {"dc:title": "Alt", "dc:description": "Alt", "dc:rights": "Alt", "dc:subject": "Bag", "dc:creator": "Seq"}

_STANDARD_BYTES = 65_502  # of a packet in a JPEG (XMP Specification Part 3, 1.1.3.1); the rest is an extension


class Provenance(NamedTuple):
    """Who made the colours of a photograph, and of what."""

    system: str
    version: str
    source_sha256: str
    """Of the file they were made from, in hexadecimal digits."""
    hints: int = 0
    """Places whose colours a person gave."""


def provenance(made: Provenance) -> bytes:
    """A packet that says the colours are machine-made, in the terms of IPTC Photo Metadata 2025.1."""
    places = f"{made.hints} place{'s' * (made.hints > 1)}"
    given = f"colorized with hints: a person gave the colours of {places}" if made.hints else ""
    prompt = given and f"<Iptc4xmpExt:AIPromptInformation>{given}</Iptc4xmpExt:AIPromptInformation>\n"
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
<Iptc4xmpExt:AISystemUsed>{escape(made.system)}</Iptc4xmpExt:AISystemUsed>
<Iptc4xmpExt:AISystemVersionUsed>{escape(made.version)}</Iptc4xmpExt:AISystemVersionUsed>
{prompt}<dc:source>sha256:{made.source_sha256}</dc:source>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>""".encode()


def labelled(scanned: bytes | None, made: Provenance | None) -> bytes | None:
    """The packet of a photograph whose scan has ``scanned``: with word of who ``made`` its colours, if anybody did.

    Older values of the properties in ``provenance`` are replaced, but ``dc:source``: where a scan comes from is
    for its archive to say.
    """
    if made is None:
        return scanned
    ours = provenance(made)
    properties = _properties(scanned) if scanned else None
    if properties is None:
        return ours
    source = properties.get(_name("dc:source"))
    properties |= _properties(ours) or {}
    if source is not None:
        properties[source.tag] = source
    return _packet(properties)


def unlabelled(packet: bytes) -> bytes | None:
    """The reverse of ``labelled``: what a photograph's packet says of its scan alone. None where nothing is left."""
    properties = _properties(packet) or {}
    system = properties.get(_name("Iptc4xmpExt:AISystemUsed"))
    if system is None or system.text != SYSTEM:
        return packet
    source = properties.get(_name("dc:source"))
    if source is not None and (source.text or "").startswith("sha256:"):
        del properties[source.tag]
    for name in ("DigitalSourceType", "AISystemUsed", "AISystemVersionUsed", "AIPromptInformation"):
        properties.pop(_name(f"Iptc4xmpExt:{name}"), None)
    return _packet(properties) if properties else None


def kept(packet: bytes, extension: bytes | None = None, turned: bool = False) -> bytes | None:
    """What of a scan's packet, and of its JPEG ``extension``, is true of any file that stores the photograph.

    Left out are the stored file's pixels, thumbnails and settings, and regions of a picture that was ``turned``
    upright. The identifiers of the file become those of what the new one derives from. None where nothing is left, or
    the packet is damaged or hostile.
    """
    properties = _properties(packet)
    if properties is None:
        return None
    if extension:
        properties = (_properties(extension) or {}) | properties
    derived = _derived_from(properties)
    for name in list(properties):
        away = name in _OF_STORED_FILES or etree.QName(name).namespace in _OF_VIEWERS or (turned and name in _PLACES)
        if away:
            del properties[name]
    properties |= derived
    return _packet(properties) if properties else None


def with_iptc(packet: bytes | None, records: bytes) -> bytes | None:
    """The packet with those IPTC-IIM records that it lacks, for formats that have no place for these."""
    properties = _properties(packet) if packet else {}
    if properties is None:
        return packet
    found = iptc.datasets(records)
    for number, prefixed in _OF_IPTC.items():
        texts = [text for text in map(_of_xml, found.get(number, [])) if text]
        if texts and _name(prefixed) not in properties:
            if number == 55:
                texts = [_date(texts[0], "".join(found.get(60, [])[:1]))]
            properties[_name(prefixed)] = _element(prefixed, texts)
    return _packet(properties) if properties else packet


def split(packet: bytes) -> tuple[bytes, bytes | None]:
    """A packet as a JPEG holds it: the standard part, and where that is too large an extension with the largest
    properties (XMP Specification Part 3, 1.1.3.1)."""
    properties = _properties(packet) if len(packet) > _STANDARD_BYTES else None
    if properties is None:
        return packet, None
    note = etree.Element(_HAS_EXTENSION, nsmap={"xmpNote": _NAMESPACES["xmpNote"]})
    note.text = "0" * 32
    sizes = {name: len(etree.tostring(element, with_tail=False)) for name, element in properties.items()}
    room = _STANDARD_BYTES - len(_packet({_HAS_EXTENSION: note}))
    standard = {}
    for name in sorted(sizes, key=sizes.__getitem__):
        room -= sizes[name]
        if room >= 0:
            standard[name] = properties.pop(name)
    extension = etree.tostring(_tree(properties), encoding="UTF-8")
    note.text = digest(extension).decode()
    return _packet(standard | {_HAS_EXTENSION: note}), extension


def digest(extension: bytes) -> bytes:
    """What a JPEG's standard packet and the parts of its extension know each other by: MD5, 32 capital digits."""
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper().encode()


def _derived_from(properties: dict) -> dict:
    """Takes the identifiers of a file out of its properties, and gives those of a file that is made from it."""
    document, instance = (properties.pop(_name(f"xmpMM:{kind}"), None) for kind in ("DocumentID", "InstanceID"))
    identifiers = {"documentID": document, "instanceID": instance}
    identifiers = {name: element.text for name, element in identifiers.items() if element is not None and element.text}
    if not identifiers:
        return {}
    derived = etree.Element(_name("xmpMM:DerivedFrom"), nsmap={p: _NAMESPACES[p] for p in ("xmpMM", "stRef", "rdf")})
    derived.set(_name("rdf:parseType"), "Resource")
    for name, text in identifiers.items():
        etree.SubElement(derived, _name(f"stRef:{name}")).text = text
    made = {derived.tag: derived}
    original = _name("xmpMM:OriginalDocumentID")
    if "documentID" in identifiers and original not in properties:
        made[original] = _element("xmpMM:OriginalDocumentID", [identifiers["documentID"]])
    return made


def _properties(packet: bytes) -> dict | None:
    """The elements of its properties by their names; None where there is no sound packet.

    Those that are written as attributes, or in several descriptions, become elements of one: the same RDF.
    """
    if len(packet) > MAX_BYTES:
        return None
    if b"\0" in packet[:4]:  # UTF-16, which some write into TIFF and JPEG
        marked = packet[:2] in (codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)
        order = "utf-16" if marked else "utf-16-be" if packet[0] == 0 else "utf-16-le"
        packet = packet.decode(order, "replace").encode()
    packet = packet.removeprefix(b"\xef\xbb\xbf").strip(b"\0 \t\r\n")
    if b"<!DOCTYPE" in packet:
        return None
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(packet, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    rdf = next(root.iter(_RDF), None)
    properties: dict = {}
    for description in rdf.findall(_DESCRIPTION) if rdf is not None else ():
        if len(description.attrib) + len(description) + len(properties) > MAX_PROPERTIES:
            return None
        for name, text in description.attrib.items():
            if etree.QName(name).namespace not in (None, _NAMESPACES["rdf"], _XML):
                element = etree.Element(name, nsmap=description.nsmap)
                element.text = text
                properties.setdefault(name, element)
        for element in description:
            properties.setdefault(element.tag, element)
    return properties or None


def _tree(properties: dict):
    prefixes = {prefix: uri for element in properties.values() for prefix, uri in element.nsmap.items() if prefix}
    prefixes |= {prefix: _NAMESPACES[prefix] for prefix in ("x", "rdf")}
    root = etree.Element(_name("x:xmpmeta"), nsmap={"x": _NAMESPACES["x"]})
    rdf = etree.SubElement(root, _RDF, nsmap={"rdf": _NAMESPACES["rdf"]})
    description = etree.SubElement(rdf, _DESCRIPTION, {_ABOUT: ""}, nsmap=prefixes)
    for element in properties.values():
        element.tail = None
        description.append(element)
    etree.cleanup_namespaces(root, keep_ns_prefixes=["x", "rdf"])
    return root


def _packet(properties: dict) -> bytes:
    body = etree.tostring(_tree(properties), encoding="unicode")
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{body}\n<?xpacket end="r"?>'.encode()


def _element(prefixed: str, texts: Iterable[str]):
    """A property that is one text, or an RDF list of them."""
    prefix = prefixed.split(":")[0]
    element = etree.Element(_name(prefixed), nsmap={p: _NAMESPACES[p] for p in (prefix, "rdf")})
    if (kind := _LIST.get(prefixed)) is None:
        element.text = "; ".join(texts)
        return element
    items = etree.SubElement(element, _name(f"rdf:{kind}"))
    for text in texts:
        item = etree.SubElement(items, _name("rdf:li"))
        item.text = text
        if kind == "Alt":
            item.set(_LANG, "x-default")
            break
    return element


def _of_xml(text: str) -> str:
    """Without the control characters that XML does not hold."""
    return "".join(c for c in text if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff")).strip()


def _date(day: str, time: str) -> str:
    """IIM's CCYYMMDD and HHMMSS+HHMM to ISO 8601, as much of it as is known; zeros are what is not."""
    if not (len(day) == 8 and day.isdigit()):
        return day
    year, month, date = day[:4], day[4:6], day[6:]
    known = year + (f"-{month}" + (f"-{date}" if date != "00" else "") if month != "00" else "")
    if len(known) == 10 and len(time) >= 6 and time[:6].isdigit():
        zone = f"{time[6:9]}:{time[9:11]}" if len(time) == 11 else ""
        known += f"T{time[:2]}:{time[2:4]}:{time[4:6]}{zone}"
    return known
