"""Whether other programs show the colour JPEGs that we write as Pillow does.

    python -m benchmarks.decoders

Colours scans of several makings and has every decoder that is installed read them: OpenCV, libvips (``vips``),
ImageMagick (``convert``), ``ffmpeg``, Go, Java, Node with jpeg-js (where NODE_PATH has it) and Chromium; and ``exiftool
-validate`` look for faults. Prints per decoder how many it read, and how far from Pillow's they are, in levels of 255:
decoders differ in how they enlarge chroma, and hardly in luma.
"""

import base64
import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data

from colorize_core import color, spliced, xmp
from colorize_core.colorizer import Colorizer
from tests import browser, jpegs

GO = """package main
import ("bufio"; "fmt"; "image/jpeg"; "os")
func main() {
    picture, err := jpeg.Decode(bufio.NewReader(os.Stdin))
    if err != nil { fmt.Fprintln(os.Stderr, err); os.Exit(1) }
    size, out := picture.Bounds(), bufio.NewWriter(os.Stdout)
    fmt.Fprintf(out, "P6 %d %d 255\\n", size.Dx(), size.Dy())
    for y := 0; y < size.Dy(); y++ { for x := 0; x < size.Dx(); x++ {
        r, g, b, _ := picture.At(x, y).RGBA()
        out.Write([]byte{byte(r >> 8), byte(g >> 8), byte(b >> 8)})
    } }
    out.Flush()
}
"""
JAVA = """import java.awt.image.BufferedImage; import java.io.*; import javax.imageio.ImageIO;
class Decode { public static void main(String[] arguments) throws IOException {
    BufferedImage picture = ImageIO.read(System.in);
    OutputStream out = new BufferedOutputStream(System.out);
    out.write(("P6 " + picture.getWidth() + " " + picture.getHeight() + " 255\\n").getBytes());
    for (int y = 0; y < picture.getHeight(); y++) for (int x = 0; x < picture.getWidth(); x++) {
        int pixel = picture.getRGB(x, y);
        out.write(pixel >> 16); out.write(pixel >> 8); out.write(pixel);
    }
    out.flush();
} }
"""
NODE = """const found = require('jpeg-js').decode(require('fs').readFileSync(0), {formatAsRGBA: false});
process.stdout.write(`P6 ${found.width} ${found.height} 255\\n`); process.stdout.write(Buffer.from(found.data));
"""
DRAWN = """async content => {
    const image = new Image(); image.src = 'data:image/jpeg;base64,' + content; await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height), drawing = canvas.getContext('2d');
    drawing.drawImage(image, 0, 0);
    return [image.width, image.height, [...drawing.getImageData(0, 0, image.width, image.height).data]];
}"""


def main() -> None:
    pictures = _pictures()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "decode.go").write_text(GO)
        Path(folder, "Decode.java").write_text(JAVA)
        if shutil.which("go"):
            subprocess.run(["go", "build", "-o", f"{folder}/decode", f"{folder}/decode.go"], check=True)
        magick = shutil.which("convert-im6.q16") or shutil.which("magick")
        programs = {
            "libvips": ["vips", "copy", "stdin", ".ppm"],
            "ImageMagick": [magick or "magick", "jpeg:-", "-depth", "8", "ppm:-"],
            "ffmpeg": ["ffmpeg", "-v", "error", "-i", "-", "-f", "image2", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"],
            "Go": [f"{folder}/decode"],
            "Java": ["java", f"{folder}/Decode.java"],
            "jpeg-js": ["node", "-e", NODE],
        }
        print(f"{'':12} {'read':>9} {'mean difference':>16} {'of luma':>8} {'largest of luma':>16}")
        _compare("OpenCV", lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), 1)[..., ::-1], pictures)
        for name, command in programs.items():
            if shutil.which(command[0]) is None:
                print(f"{name:12} is not installed")
            else:
                _compare(name, lambda content, command=command: _read_by(command, content), pictures)
        if browser.CHROMIUM is None:
            print(f"{'Chromium':12} is not installed")
        else:
            with browser.launched() as chromium:
                page = chromium.new_page()
                page.goto("about:blank")
                _compare("Chromium", lambda content: _drawn(page, content), pictures)
    _validate(pictures)


def _pictures() -> dict[str, bytes]:
    """Colour JPEGs: one that the network coloured, with provenance, and others of odd sizes and makings."""
    colorizer = Colorizer.load(device="cpu")
    grey = color.grey_of(data.astronaut())
    scans = {"astronaut": cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()}
    chosen = {("Pillow", "131 x 97"), ("OpenCV", "33 x 17")}
    scans |= {made.name: made.data for made in jpegs.made() if (made.encoder, made.size) in chosen}
    pictures = {}
    for name, scan in scans.items():
        found = spliced.of_jpeg(scan)
        assert found
        guide = found.guide.grey
        rgb = color.merge(guide, colorizer.predict([guide])[0].chroma[0])
        made = xmp.Provenance(xmp.SYSTEM, "benchmark", "0" * 64)
        pictures[name] = spliced.encode(found, rgb, xmp.labelled(None, made))
    return pictures


def _compare(name: str, decode: Callable[[bytes], np.ndarray], pictures: dict[str, bytes]) -> None:
    differences, lumas, failed = [], [], []
    for picture, content in pictures.items():
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)
        try:
            found = np.asarray(decode(content), np.float32)
        except Exception as error:  # whatever a decoder says
            failed.append(f"{picture}: {error}")
            continue
        if found.shape != expected.shape:
            failed.append(f"{picture}: {found.shape}")
            continue
        differences.append(np.abs(found - expected).mean())
        luma = np.abs((found - expected) @ np.float32([0.299, 0.587, 0.114]))
        lumas.append((luma.mean(), luma.max()))
    mean, largest = np.mean([one for one, _ in lumas]), max((most for _, most in lumas), default=0)
    read = f"{len(differences)} of {len(pictures)}"
    print(f"{name:12} {read:>9} {np.mean(differences):16.2f} {mean:8.2f} {largest:16.1f}", flush=True)
    for line in failed[:5]:
        print(f"  {line}")


def _read_by(command: list[str], content: bytes) -> np.ndarray:
    done = subprocess.run(command, input=content, capture_output=True)
    if done.returncode or done.stderr:
        raise ValueError(done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}")
    return np.asarray(Image.open(io.BytesIO(done.stdout)).convert("RGB"))


def _drawn(page, content: bytes) -> np.ndarray:
    width, height, levels = page.evaluate(DRAWN, base64.b64encode(content).decode())
    return np.reshape(levels, (height, width, 4))[..., :3]


def _validate(pictures: dict[str, bytes]) -> None:
    if shutil.which("exiftool") is None:
        print("exiftool is not installed")
        return
    said = [
        subprocess.run(["exiftool", "-validate", "-warning", "-error", "-s3", "-"], input=content, capture_output=True)
        .stdout.decode().strip()
        for content in pictures.values()
    ]  # fmt: skip
    print(f"exiftool -validate: OK {said.count('OK')} of {len(said)}")
    for line in sorted({*said} - {"OK"})[:5]:
        print(f"  {line}")


if __name__ == "__main__":
    main()
