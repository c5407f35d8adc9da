"""
What a file holds, by the end of its name. Pure.

Our own table rather than the machine's C{mime.types}, so that a site is the same wherever it runs.
"""

from __future__ import annotations

_TEXT = {
    b"appcache": b"text/cache-manifest",
    b"css": b"text/css",
    b"csv": b"text/csv",
    b"htm": b"text/html",
    b"html": b"text/html",
    b"ics": b"text/calendar",
    b"js": b"text/javascript",
    b"log": b"text/plain",
    b"markdown": b"text/markdown",
    b"md": b"text/markdown",
    b"mjs": b"text/javascript",
    b"text": b"text/plain",
    b"txt": b"text/plain",
    b"vcf": b"text/vcard",
    b"vtt": b"text/vtt",
    b"yaml": b"application/yaml",
    b"yml": b"application/yaml",
}
"""Those that are told with C{charset=utf-8}."""

_OTHER = {
    b"7z": b"application/x-7z-compressed",
    b"aac": b"audio/aac",
    b"apng": b"image/apng",
    b"atom": b"application/atom+xml",
    b"avif": b"image/avif",
    b"bmp": b"image/bmp",
    b"br": b"application/octet-stream",
    b"bz2": b"application/x-bzip2",
    b"cjs": b"text/javascript; charset=utf-8",
    b"doc": b"application/msword",
    b"docx": b"application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    b"eot": b"application/vnd.ms-fontobject",
    b"epub": b"application/epub+zip",
    b"flac": b"audio/flac",
    b"geojson": b"application/geo+json",
    b"gif": b"image/gif",
    b"glb": b"model/gltf-binary",
    b"gltf": b"model/gltf+json",
    b"gz": b"application/gzip",
    b"ico": b"image/vnd.microsoft.icon",
    b"jpeg": b"image/jpeg",
    b"jpg": b"image/jpeg",
    b"json": b"application/json",
    b"jsonld": b"application/ld+json",
    b"jxl": b"image/jxl",
    b"m3u8": b"application/vnd.apple.mpegurl",
    b"m4a": b"audio/mp4",
    b"m4v": b"video/mp4",
    b"map": b"application/json",
    b"mov": b"video/quicktime",
    b"mp3": b"audio/mpeg",
    b"mp4": b"video/mp4",
    b"mpd": b"application/dash+xml",
    b"mpeg": b"video/mpeg",
    b"oga": b"audio/ogg",
    b"ogg": b"audio/ogg",
    b"ogv": b"video/ogg",
    b"opus": b"audio/ogg",
    b"otf": b"font/otf",
    b"pdf": b"application/pdf",
    b"png": b"image/png",
    b"ppt": b"application/vnd.ms-powerpoint",
    b"pptx": b"application/vnd.openxmlformats-officedocument.presentationml.presentation",
    b"rss": b"application/rss+xml",
    b"rtf": b"application/rtf",
    b"svg": b"image/svg+xml",
    b"tar": b"application/x-tar",
    b"tif": b"image/tiff",
    b"tiff": b"image/tiff",
    b"toml": b"application/toml",
    b"ts": b"video/mp2t",
    b"ttf": b"font/ttf",
    b"wasm": b"application/wasm",
    b"wav": b"audio/wav",
    b"weba": b"audio/webm",
    b"webm": b"video/webm",
    b"webmanifest": b"application/manifest+json",
    b"webp": b"image/webp",
    b"woff": b"font/woff",
    b"woff2": b"font/woff2",
    b"xhtml": b"application/xhtml+xml",
    b"xls": b"application/vnd.ms-excel",
    b"xlsx": b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    b"xml": b"application/xml",
    b"xz": b"application/x-xz",
    b"zip": b"application/zip",
    b"zst": b"application/zstd",
}

_COMPRESSED = frozenset(
    b"7z aac apng avif br bz2 docx epub flac gif gz jpeg jpg jxl m4a m4v mov mp3 mp4 mpeg oga ogg ogv opus"
    b" png pptx weba webm webp woff woff2 xlsx xz zip zst".split()
)
"""What is compressed already: nobody lays a compressed sibling beside it."""

_TYPES = {**_OTHER, **{suffix: name + b"; charset=utf-8" for suffix, name in _TEXT.items()}}

UNKNOWN = b"application/octet-stream"


def _suffix(name: bytes) -> bytes:
    return name.rpartition(b"/")[2].rpartition(b".")[2].lower()


def content_type(name: bytes) -> bytes:
    """
    The value of C{Content-Type} for a file.

    @param name: its name, with or without a path.
    """
    return _TYPES.get(_suffix(name), UNKNOWN)


def is_compressed(name: bytes) -> bool:
    """Whether files of this name hold compressed data by their nature."""
    return _suffix(name) in _COMPRESSED
