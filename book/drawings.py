"""The drawn figures of the book: book/images/*.svg, all in one style.

python book/drawings.py
"""

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "images"
INK, SOFT, PAPER = "#1f2933", "#5b6770", "#fbfbf7"
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#d7e9f5", "#f8ecc9"


class Drawing:
    """Shapes on a sheet of paper of its own, so that it can be read in the dark too."""

    def __init__(self, width, height, alt):
        heads = "".join(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 1 9 5 0 9z" fill="{colour}"/></marker>'
            for name, colour in {"i": INK, "b": BLUE, "o": ORANGE, "g": GREEN}.items()
        )
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" font-family="Helvetica, Arial, sans-serif" font-size="14"><title>{escape(alt)}</title>'
            f'<defs>{heads}</defs><rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>'
        ]

    def add(self, text):
        self.parts.append(text)

    def text(self, x, y, words, size=14, colour=INK, anchor="middle", style=""):
        for k, line in enumerate(words.split("\n")):
            where = f'x="{x}" y="{y + 1.25 * size * k:.1f}" font-size="{size}"'
            self.add(f'<text {where} fill="{colour}" text-anchor="{anchor}" {style}>{escape(line)}</text>')

    def box(self, x, y, w, h, words="", fill=SKY, edge=BLUE, size=14, round_=8):
        """A box around its middle (x, y)."""
        at = f'x="{x - w / 2}" y="{y - h / 2}" width="{w}" height="{h}"'
        self.add(f'<rect {at} rx="{round_}" fill="{fill}" stroke="{edge}" stroke-width="1.5"/>')
        self.text(x, y + 0.35 * size - 0.62 * size * words.count("\n"), words, size)

    def circle(self, x, y, r, words="", fill=YELLOW, edge=ORANGE, size=14):
        self.add(f'<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}" stroke="{edge}" stroke-width="1.5"/>')
        self.text(x, y + 0.35 * size, words, size)

    def path(self, d, colour=INK, width=1.6, fill="none", head="", dash=""):
        marker = f' marker-end="url(#{head})"' if head else ""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.add(f'<path d="{d}" fill="{fill}" stroke="{colour}" stroke-width="{width}"{marker}{dashed}/>')

    def arrow(self, x, y, u, v, colour=INK, **more):
        self.path(f"M{x} {y} L{u} {v}", colour, head={INK: "i", BLUE: "b", ORANGE: "o", GREEN: "g"}[colour], **more)

    def save(self, name):
        (FOLDER / f"{name}.svg").write_text("\n".join([*self.parts, "</svg>\n"]), encoding="utf-8")


def scales():
    d = Drawing(720, 240, "From the heart to a sheet of its muscle, and from the sheet to a cell")
    d.path("M105 205 C30 150 20 85 62 66 C88 55 104 72 108 88 C114 66 140 52 164 66 C202 90 180 155 105 205z",
           ORANGE, 2, "#f6dcd0")  # fmt: skip
    d.path("M92 70 C88 45 96 30 112 26 M118 74 C120 50 132 38 150 36", ORANGE, 5)
    d.add(f'<rect x="128" y="128" width="16" height="16" fill="none" stroke="{INK}" stroke-width="1.5"/>')
    d.path("M144 128 L262 48 M144 144 L262 192", SOFT, 1, dash="3 3")
    side, n = 144, 12
    for i in range(n):
        for j in range(n):
            far = i + (n - 1 - j)
            colour = ORANGE if far < 6 else "#f0a35e" if far == 6 else "#f5cfa5" if far == 7 else SKY
            at = f'x="{262 + side / n * j:.1f}" y="{48 + side / n * (n - 1 - i):.1f}"'
            d.add(f'<rect {at} width="{side / n - 1:.1f}" height="{side / n - 1:.1f}" fill="{colour}"/>')
    d.add(f'<rect x="310" y="96" width="11" height="11" fill="none" stroke="{INK}" stroke-width="1.8"/>')
    d.path("M321 96 L486 62 M321 107 L486 178", SOFT, 1, dash="3 3")
    d.box(590, 120, 208, 116, "", SKY, BLUE, round_=30)
    d.box(590, 120, 196, 104, "", PAPER, BLUE, round_=26)
    for x, y in ((530, 62), (590, 62), (650, 62), (530, 178), (590, 178), (650, 178)):
        d.add(f'<rect x="{x - 5}" y="{y - 8}" width="10" height="16" rx="4" fill="{GREEN}"/>')
    d.text(590, 116, "nineteen numbers:\npotential, gates, ions", 14)
    for x, words in ((105, "heart"), (334, "sheet, 1 cm a side"), (590, "cell, 0.1 mm long")):
        d.text(x, 228, words, 14, SOFT)
    d.save("scales")


def cell():
    d = Drawing(720, 420, "A cell with twelve currents through its membrane and four fluxes of calcium inside")
    d.box(360, 215, 560, 250, "", SKY, BLUE, round_=44)
    d.box(360, 215, 544, 234, "", PAPER, BLUE, round_=38)
    d.text(360, 20, "outside", 14, SOFT)
    d.text(190, 215, "cytosol\nCai, Nai, Ki", 14, SOFT)
    inward, outward = ("Na", "CaL", "bNa", "bCa"), ("to", "Kr", "Ks", "K1", "pK", "pCa")
    for k, name in enumerate((*inward, *outward)):
        row, column = divmod(k, 5)
        x, y = 138 + 111 * column, (91, 339)[row]
        into = name in inward
        colour = BLUE if into else ORANGE
        d.add(f'<rect x="{x - 7}" y="{y - 12}" width="14" height="24" rx="6" fill="{GREEN}"/>')
        up, down = (y - 34, y + 32)
        d.arrow(x, *((up, x, down) if into == (row == 0) else (down, x, up)), colour, width=2)
        if row == 1:
            d.text(x, down + 18, f"I {name}", 14)
        else:
            d.text(x, up - 6, f"I {name}", 14)
    for x, name, words in ((80, "I NaCa", "exchanger"), (640, "I NaK", "pump")):
        d.circle(x, 215, 17, "", YELLOW, ORANGE)
        out = 34 if x > 360 else -34
        d.arrow(x - out, 223, x + out, 223, ORANGE, width=2)
        if x < 360:  # turns with the potential
            d.arrow(x - 34, 208, x + 34, 208, BLUE, width=2)
        d.text(x + (40 if x > 360 else -40), 256, f"{name}\n{words}", 13)
    d.box(440, 245, 210, 92, "", "#efe3f0", PINK, round_=16)
    d.text(440, 240, "sarcoplasmic reticulum\nCaSR", 14)
    d.box(262, 146, 150, 40, "subspace, CaSS", YELLOW, ORANGE)
    d.path("M400 199 C390 172 370 152 340 148", INK, 1.8, head="i")
    d.text(398, 168, "release", 13, SOFT, "start")
    d.arrow(225, 167, 208, 198)
    d.text(228, 189, "diffusion", 13, SOFT, "start")
    d.path("M240 238 C280 262 300 262 333 258", INK, 1.8, head="i")
    d.text(262, 280, "uptake", 13, SOFT, "start")
    d.path("M333 232 C300 226 280 224 246 222", INK, 1.4, head="i", dash="5 3")
    d.text(268, 219, "leak", 13, SOFT, "start")
    d.text(20, 408, "blue: inward, depolarises", 13, BLUE, "start")
    d.text(700, 408, "orange: outward, repolarises", 13, "#a84400", "end")
    d.save("cell")


def lstm():
    d = Drawing(720, 300, "One step of an LSTM cell: three gates, a memory and an output")
    d.box(370, 150, 520, 200, "", SKY, BLUE, round_=16)
    d.arrow(40, 80, 680, 80, ORANGE, width=2.4)
    d.text(36, 70, "memory c", 14, "#a84400", "start")
    d.text(684, 70, "c, next", 14, "#a84400", "end")
    d.circle(210, 80, 15, "×")
    d.circle(370, 80, 15, "+")
    for x, name, what in ((210, "σ", "forget"), (330, "σ", "let in"), (410, "tanh", "candidate"), (520, "σ", "show")):
        d.box(x, 180, 52, 32, name, YELLOW, ORANGE)
        d.text(x, 215, what, 13, SOFT)
        d.path(f"M{x} 245 L{x} 226", INK, 1.6)
    d.arrow(210, 164, 210, 97)
    d.circle(370, 132, 13, "×")
    d.path("M330 164 L330 132 L356 132", INK, 1.6, head="i")
    d.path("M410 164 L410 132 L384 132", INK, 1.6, head="i")
    d.arrow(370, 119, 370, 97)
    d.circle(580, 132, 13, "×")
    d.path("M520 164 L520 132 L566 132", INK, 1.6, head="i")
    d.path("M580 80 L580 118", INK, 1.6, head="i")
    d.text(588, 104, "tanh", 12, SOFT, "start")
    d.path("M580 145 L580 250 L680 250", BLUE, 2.4, head="b")
    d.text(684, 242, "h, next", 14, BLUE, "end")
    d.path("M40 245 L520 245", BLUE, 2.4)
    d.text(36, 264, "h and frame x", 14, BLUE, "start")
    d.text(360, 288, "each box is a layer of weights; × and + work number by number", 13, SOFT)
    d.save("lstm")


def unrolled():
    alt = "Above, teacher forcing: each step reads a true frame. Below, a free run: it reads the output before"
    d = Drawing(720, 350, alt)
    for row, (y, words) in enumerate(((70, "teacher forcing\n(Algorithm 1)"), (235, "free run\n(Algorithm 2)"))):
        d.text(70, y - 6, words, 14, INK)
        for k in range(4):
            x = 190 + 140 * k
            d.box(x, y, 74, 40, "network")
            if k < 3:
                d.arrow(x + 38, y, x + 101, y)
                d.text(x + 54, y - 7, f"h{k + 1}", 13, SOFT)
            d.arrow(x, y - 21, x, y - 40, BLUE)
            d.text(x, y - 46, f"output {k + 1}", 13, BLUE)
            if row == 0 or k == 0:
                d.arrow(x, y + 56, x, y + 22, ORANGE)
                d.text(x, y + 72, f"true x{k}", 13, "#a84400")
            if row == 1 and k < 3:
                way = f"M{x + 34} {y - 50} C{x + 130} {y - 50} {x + 40} {y + 70} {x + 132} {y + 24}"
                d.path(way, BLUE, 1.8, head="b", dash="6 3")
    d.text(360, 338, "dashed: the output becomes the next input, and so does its error", 13, SOFT)
    d.save("unrolled")


def latent():
    alt = "A latent neural ODE: an encoder reads the history backwards, an equation runs on, a decoder writes"
    d = Drawing(720, 250, alt)
    for k in range(4):
        x = 60 + 58 * k
        d.box(x, 190, 44, 30, f"x{k + 1}", YELLOW, ORANGE)
        d.box(x, 120, 44, 30, "RNN")
        d.arrow(x, 174, x, 137)
        if k:
            d.arrow(x - 22, 120, x - 35, 120)
    d.text(147, 232, "history, read backwards", 13, SOFT)
    d.path("M60 104 C62 40 240 30 322 60", BLUE, 2, head="b")
    d.text(170, 36, "mean and spread of z0", 13, BLUE)
    d.circle(340, 66, 17, "z0", SKY, BLUE)
    d.path("M358 66 C420 40 470 100 530 70 C580 46 630 74 668 62", BLUE, 2.4, head="b")
    d.text(520, 42, "dz/dt = f(z), by an ODE solver", 14, BLUE)
    for x, y, k in ((430, 72, 1), (530, 70, 2), (630, 66, 3)):
        d.add(f'<circle cx="{x}" cy="{y}" r="5" fill="{BLUE}"/>')
        d.arrow(x, y + 8, x, 118)
        d.box(x, 134, 70, 28, "decoder", size=13)
        d.arrow(x, 149, x, 174)
        d.box(x, 190, 56, 30, f"frame {k}", YELLOW, ORANGE, size=13)
    d.text(530, 232, "forecast, at any times", 13, SOFT)
    d.save("latent")


def carried():
    d = Drawing(720, 290, "Blocks of a sheet: the solver has those near the front, the flow map the others")
    for i in range(6):
        for j in range(10):
            far = j - 1.2 * i / 2
            kind = "solved" if 2.4 < far < 5.2 else "behind" if far <= 2.4 else "ahead"
            fill = {"solved": "#f0a35e", "behind": SKY, "ahead": "#e7efe9"}[kind]
            at = f'x="{30 + 40 * j}" y="{20 + 36 * i}" width="38" height="34"'
            d.add(f'<rect {at} rx="4" fill="{fill}" stroke="{SOFT}" stroke-width=".6"/>')
    d.path("M186 20 C206 90 246 160 298 236", ORANGE, 3)
    d.text(36, 262, "behind: repolarisation, told in advance", 13, BLUE, "start")
    d.text(430, 262, "ahead: rest", 13, "#00684d", "end")
    d.box(570, 52, 250, 50, "solved: steps of 0.01 to 0.3 ms", "#f8dcc0", ORANGE)
    d.box(570, 208, 250, 50, "carried: one course for 8 ms to 1 s", SKY, BLUE)
    d.path("M530 80 L530 180", BLUE, 2, head="b")
    d.text(522, 126, "handed over:\nall 19 numbers", 13, SOFT, "end")
    d.path("M610 180 L610 80", ORANGE, 2, head="o")
    d.text(618, 126, "woken: a front,\na stimulus", 13, SOFT, "start")
    d.save("carried")


DRAWINGS = (scales, cell, lstm, unrolled, latent, carried)

if __name__ == "__main__":
    for draw in DRAWINGS:
        draw()
