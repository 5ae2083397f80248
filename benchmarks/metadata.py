"""What a scan carries and what of it arrives, judged by readers that are not ours: Pillow, tifffile, ExifRead.

    python -m benchmarks.metadata

Has Pillow make scans that carry what it can write into their format, reads them, writes them as PNG, JPEG and TIFF,
and prints per thing carried whether it arrived: yes, no, or - where the scan had none.
"""

from tests.metadata import SCANS, arrived, scan, written


def main() -> None:
    marks = {True: "yes", False: "no", None: "-"}
    cases = [(kind, format) for format in ("png", "jpeg", "tiff") for kind in SCANS]
    columns = [arrived(kind, written(scan(kind), format)) for kind, format in cases]
    print(f"{'':30}" + "".join(f"{f'written as {format.upper()}, from':36}" for format in ("png", "jpeg", "tiff")))
    print(f"{'':30}" + "".join(f"{kind:9}" for kind, _ in cases))
    for name in columns[0]:
        print(f"{name:30}" + "".join(f"{marks[column[name]]:9}" for column in columns))


if __name__ == "__main__":
    main()
