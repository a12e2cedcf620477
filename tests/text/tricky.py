"""Clean texts that look odd: (name, domain or None, text). Written for this project."""

import base64
import hashlib
import json
import random

_chance = random.Random(7)
_WORDS = [
    "loss",
    "step",
    "batch",
    "token",
    "layer",
    "norm",
    "weight",
    "rate",
    "seed",
    "shard",
    "epoch",
    "draw",
    "panel",
    "judge",
]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_POEM = """床前一盏灯，照着那条线。
线落下去了，又忽然抬头。
夜里有人醒，看它一分钟。
天亮再看时，它已经平了。

山高水也长，云白天更蓝。
风来竹有声，月去水无痕。
"""

_CLASSICAL = """子曰：學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？人不知而不慍，不亦君子乎？
道可道，非常道；名可名，非常名。無名天地之始，有名萬物之母。
北冥有魚，其名為鯤。鯤之大，不知其幾千里也。化而為鳥，其名為鵬。
"""

_TABLE = "\n".join(
    ["| step | loss | grad norm | learning rate |", "|------|------|-----------|---------------|"]
    + [f"| {at * 100:>4} | {3 - at * 0.03:.3f} | {0.4 + at % 7 * 0.01:.2f}      | 3.0e-4        |"
       for at in range(40)]
)  # fmt: skip

_RST = "\n".join(
    ["=========  =====================================  ========"]
    + [f"opt_{at:<5}  {' '.join(_chance.choices(_WORDS, k=4)):<37}  {at * 3}" for at in range(30)]
    + ["=========  =====================================  ========"]
)

_MINIFIED = (
    "!function(e,t){\"object\"==typeof exports?module.exports=t():e.Run=t()}(this,function(){var e={},"
    "t=function(e,t){return e<t?-1:e>t?1:0};function n(r){if(e[r])return e[r].x;var o=e[r]={i:r,l:!1,x:{}};"
    "return o.l=!0,o.x}return n.m=e,n.c=t,n.d=function(e,t,r){n.o(e,t)||Object.defineProperty(e,t,{get:r})},"
    "n.n=function(e){var t=e&&e.d?function(){return e.default}:function(){return e};return n.d(t,\"a\",t),t}});"
)  # fmt: skip

_LATEX = r"""
\begin{align}
  \mathcal{L}(\theta) &= -\frac{1}{N}\sum_{i=1}^{N} \log p_\theta(x_i \mid x_{<i}) \\
  \nabla_\theta \mathcal{L} &= \mathbb{E}\left[ \frac{\partial \ell}{\partial z}\,\frac{\partial z}{\partial \theta} \right],
  \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \\
  \theta_{t+1} &= \theta_t - \eta \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}
\end{align}
where $\hat m_t = m_t / (1 - \beta_1^t)$ and $\epsilon$ is small.
"""

_LOCK = "\n".join(
    f'"{name}-{at}@^{at}.{at % 5}.0":\n  version "{at}.{at % 5}.3"\n'
    f'  resolved "https://example.org/{name}-{at}.tgz#{_digest(name + str(at))[:40]}"\n'
    f"  integrity sha512-{base64.b64encode(hashlib.sha512(str(at).encode()).digest()).decode()}\n"
    for at, name in enumerate(_WORDS)
)

_PIP_LOCK = "\n".join(
    f"{name}=={at}.2.1 \\\n    --hash=sha256:{_digest(name)} \\\n    --hash=sha256:{_digest(name[::-1])}"
    for at, name in enumerate(_WORDS)
)

_SUMS = "\n".join(
    f"{_digest(str(at))}  dist/{name}-{at}.tar.gz" for at, name in enumerate(_WORDS * 3)
)

_EMOJI = "训练开始啦 🚀🚀 loss 在下降 📉📉📉！大家辛苦了 👍👍👍 明天继续 💪😄🎉🎉 Good night 🌙✨\n"

_BLANK_LINES = "\n\n\n\n\n".join(
    (
        "import math",
        "def mean(values):\n    return sum(values) / len(values)",
        "def spread(values):\n\n\n    centre = mean(values)\n\n\n    return math.sqrt(mean([(v - centre) ** 2 for v in values]))",
        "class Window:\n\n\n\n    def __init__(self, size):\n        self.size = size\n        self.kept = []",
        "    def add(self, value):\n\n        self.kept = [*self.kept, value][-self.size :]",
        "if __name__ == '__main__':\n\n\n\n    window = Window(8)\n    window.add(2.5)\n    print(mean(window.kept))",
    )
)

_BADGES = (
    "\n".join(
        f'<a href="https://example.org/{name}"><img src="https://example.org/badge/{name}.svg" alt="{name}"></a>'
        for name in _WORDS[:8]
    )
    + "\n\n# A project\n\n"
    + (
        "It trains a model and tells what went wrong, in two languages. Give it a loop and a data order; it\n"
        "watches the loss of every domain, reads the text behind a spike, and goes back when it has to.\n"
        "Nothing of it needs a network. The report is one page that can be sent by mail.\n"
    )
)

_JSX = """export function Curve({points, onPick}) {
  return (
    <div className="curve">
      <h2>{points.title}</h2>
      <ul>{points.map(p => <li key={p.step} onClick={() => onPick(p)}>{p.loss}</li>)}</ul>
      <Button kind="primary"><Icon name="save" /> Save</Button>
    </div>
  );
}
"""

_HTML_PAGE = "<ul>\n" + "".join(f"  <li><a href='#{w}'>{w}</a></li>\n" for w in _WORDS) + "</ul>\n"

_SBOX = (
    "static const uint8_t sbox[256] = {\n"
    + "\n".join(
        "    " + ", ".join(f"0x{_chance.randrange(256):02x}" for _ in range(16)) + ","
        for _ in range(16)
    )
    + "\n};\n\nuint8_t substitute(uint8_t value) {\n    return sbox[value];\n}\n"
    + ("/* The table was drawn at random; a real cipher derives it from an inverse. */\n" * 1)
)

_CSV = "step,domain,loss,tokens\n" + "\n".join(
    f"{at},{('zh', 'en', 'code')[at % 3]},{2 + _chance.random():.4f},{_chance.randrange(9000, 11000)}"
    for at in range(80)
)

_I18N = """{"en": "Save", "de": "Speichern", "fr": "Enregistrer", "es": "Guardar", "ru": "Сохранить",
 "zh-CN": "保存", "zh-TW": "儲存", "ja": "保存する", "ko": "저장", "ar": "حفظ", "he": "שמור", "th": "บันทึก",
 "el": "Αποθήκευση", "hi": "सहेजें", "pl": "Zapisz", "cs": "Uložit", "tr": "Kaydet", "vi": "Lưu", "uk": "Зберегти"}
"""

_ABOUT = """When UTF-8 is read as cp1252, an apostrophe becomes "â€™" and "é" becomes "Ã©". The cure is to
encode the text as cp1252 again and to decode it as UTF-8. If you see "锟斤拷" in a Chinese page, the bytes
were replaced before, and nothing can be won back; "烫烫烫" is memory that nobody wrote to. This article
explains how such text comes about, how a program can tell it from text in a language that it does not
know, and why a rule that only counts rare characters fails on names, on old books and on poetry.
"""

_ABOUT_ZH = """所谓乱码，就是用错误的编码去读一段字节。把 UTF-8 的中文当成 GBK 来读，会看到“浣犲ソ”这样的字；
先被替换成 U+FFFD 再按 GBK 读，就成了“锟斤拷”；没有初始化的内存会显示成“烫烫烫”或者“屯屯屯”。
前一种还能救回来：按 GBK 编码，再按 UTF-8 解码即可；后两种原来的字节已经没有了，只能重新取数据。
判断一段文字是不是乱码，不能只看有没有生僻字，因为人名、古文和诗词里也有；要看整段文字里常用字占多少。
"""

_UNICODE_MATHS = (
    "∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−f(a)|<ε. ∑ᵢ αᵢ ≤ ∞, ∂L/∂θ ≈ 𝔼[∇ℓ], ℝⁿ ⊇ 𝒳 ∋ x ↦ ⟨w,x⟩ ∈ ℝ.\n"
)

_BOX = """┌──────────┬────────┐
│ 名称     │ 损失   │
├──────────┼────────┤
│ 中文     │ 2.31   │
│ 英文     │ 2.02   │
│ 代码     │ 1.45   │
└──────────┴────────┘
左边是域的名称，右边是固定样本上的平均损失，单位是每个词元的奈特。
"""

_LOG = "\n".join(
    f"2026-11-24 12:{at // 60:02d}:{at % 60:02d} INFO rank{at % 8} step {1000 + at} loss {2 + _chance.random() / 9:.4f} "
    f"lr 3.0e-04 tok/s {_chance.randrange(38000, 42000)} {_chance.choice(_WORDS)}"
    for at in range(60)
)  # fmt: skip

_DIFF = "\n".join(
    f"@@ -{at * 9},3 +{at * 9},3 @@\n-    value = {at}\n+    value = {at + 1}  # {_chance.choice(_WORDS)}\n     return value"
    for at in range(20)
)  # fmt: skip

_POEM_EN = """The curve went down, the curve went down,
  the curve went down all day;
the curve went up, the curve went up,
  and no one looked that way.

O watch it well, O watch it well,
  O watch it while you may;
"""

TRICKY: tuple[tuple[str, str | None, str], ...] = (
    ("verse", "zh", _POEM),
    ("classical Chinese, traditional", "zh", _CLASSICAL),
    ("Markdown table", "en", _TABLE),
    ("reStructuredText table", "en", _RST),
    ("minified JavaScript", "code", _MINIFIED),
    ("LaTeX", "en", _LATEX),
    ("yarn lock", "code", _LOCK),
    ("pip lock", "code", _PIP_LOCK),
    ("checksums", None, _SUMS),
    ("emoji", "zh", _EMOJI),
    ("blank lines in code", "code", _BLANK_LINES),
    ("badges", "en", _BADGES),
    ("JSX", "code", _JSX),
    ("HTML as code", "code", _HTML_PAGE),
    ("S-box", "code", _SBOX),
    ("CSV", "code", _CSV),
    ("CSV without a domain", None, _CSV),
    ("locale file", "code", _I18N),
    ("about mojibake", "en", _ABOUT),
    ("about mojibake, in Chinese", "zh", _ABOUT_ZH),
    ("Unicode maths", "en", _UNICODE_MATHS),
    ("boxes", "zh", _BOX),
    ("log", None, _LOG),
    ("diff", "code", _DIFF),
    ("refrain", "en", _POEM_EN),
    ("Japanese", None, "損失が下がり続けたあと、突然上がった。夜中に誰かが目を覚まし、曲線を見て推測する。"
     "書いてから動く道具は信頼できる。気温は二十度、対策は済んだ。読み込みは正常に終わりました。" ),
    ("Korean", None, "손실은 오랫동안 내려가다가 갑자기 올라갔다. 밤에 누군가 깨어나 곡선을 보고 추측한다. "
     "먼저 적고 나서 움직이는 도구는 믿을 수 있다."),
    ("Russian", None, "Потери долго падали, а потом вдруг выросли. Ночью кто-то просыпается, смотрит на "
     "кривую и гадает. Инструменту, который сначала записывает, а потом действует, можно доверять."),
    ("French", None, "La perte baissait depuis longtemps, puis elle a monté d'un coup. Quelqu'un s'est "
     "réveillé la nuit, a regardé la courbe et a deviné. À l'été, où l'on était déjà prêt, ça marchait."),
    ("German", None, "Der Verlust fiel lange, dann stieg er plötzlich. Nachts wacht jemand auf, schaut auf "
     "die Kurve und rät. Für Überläufe größer als zwölf genügt das übliche Maß."),
    ("Vietnamese", None, "Giá trị mất mát giảm trong một thời gian dài rồi đột ngột tăng lên. Ban đêm có "
     "người thức dậy, nhìn đường cong và đoán. Công cụ ghi lại trước khi làm thì đáng tin."),
    ("Czech", None, "Ztráta dlouho klesala a pak náhle vzrostla. V noci se někdo vzbudí, podívá se na křivku "
     "a hádá. Nástroji, který nejdřív zapíše a potom jedná, se dá věřit. Příliš žluťoučký kůň úpěl."),
    ("Greek", None, "Η απώλεια έπεφτε για πολύ καιρό και μετά ανέβηκε ξαφνικά. Τη νύχτα κάποιος ξυπνά, "
     "κοιτάζει την καμπύλη και μαντεύει."),
    ("Arabic", None, "انخفضت الخسارة لفترة طويلة ثم ارتفعت فجأة. في الليل يستيقظ شخص ما وينظر إلى المنحنى ويخمن."),
    ("Hindi", None, "हानि लंबे समय तक घटती रही और फिर अचानक बढ़ गई। रात में कोई जागता है, वक्र को देखता है और अनुमान लगाता है।"),
    ("Thai", None, "ค่าความสูญเสียลดลงมานานแล้วก็เพิ่มขึ้นอย่างกะทันหัน กลางคืนมีคนตื่นขึ้นมาดูเส้นโค้งแล้วเดา"),
    ("Chinese with English terms", "zh", "我们用 FSDP2 训练，optimizer 是 AdamW，betas=(0.9, 0.95)，"
     "gradient clipping 取 1.0；warmup 2000 steps 之后进入 stable 阶段，最后 10% 做 decay。" ),
    ("code with Chinese comments", "code", "# 读取日志并返回损失\ndef read(path):\n    # 一行一个数\n"
     "    with open(path) as file:\n        return [float(line) for line in file]\n" ),
    ("names of places, rare characters", "zh", "他从亳州出发，经涡阳、蒙城，到了濉溪；次日又去了砀山和萧县。"
     "沿途看见淝河、浍河与沱河，晚上住在一间叫“瓯窑”的小店里，主人姓亓官，他的邻居姓澹台。" ),
    ("phonetic notation", "en", "The word is pronounced /ˈwɔːtər/ in one place and /ˈwɑːɾɚ/ in another; "
     "the vowel of /kɔːt/ is long, that of /kɒt/ is short. " ),
    ("currency and quotes", "en", "He paid £20 — or was it €25? — for the “old” book; it’s worth ½ of "
     "that at 20 °C … “Fine,” she said, ‘as you like’. " ),
    ("a table of contents", "zh", "第一章 损失突然上升时先看哪里\n第二章 下降也可能是坏消息\n第三章 固定样本的困惑度\n"
     "第四章 优化器状态如何恢复\n第五章 检查点写坏以后\n第六章 谁动了学习率\n第七章 浅层梯度\n第八章 报告与告警\n"),
    ("multiple choice", "en", "\n".join(f"{at}. Which of these is right?\n  A) first\n  B) second\n  C) third\n"
                                         f"  D) none of {_chance.choice(_WORDS)}" for at in range(20))),
    ("assembly", "code", "\n".join(f"  {at * 4:04x}: 8b 45 {at:02x}  mov eax, [rbp-{at}] ; {_chance.choice(_WORDS)}"
                                    for at in range(40))),
    ("numbers", None, "\n".join(" ".join(f"{_chance.random():.6f}" for _ in range(8)) for _ in range(30))),
    ("JSON records", "code", "\n".join(
        json.dumps({"id": at, "domain": _chance.choice(_WORDS), "ok": True, "loss": _chance.random()})
        for at in range(50))),
    ("key in a manual", "en", "To add the key, write it to a file:\n\n    " + base64.b64encode(
        _chance.randbytes(90)).decode() + "\n\nThen reload the service and look at its log. A line that begins "
        "with 'accepted' means that the key is in use from now on; a line that begins with 'refused' names what "
        "is wrong with it. Keep the file readable for the service alone, and remove the old key after a day."),
    ("dialogue", "zh", "“真的吗？”\n“真的。”\n“真的真的？”\n“真的真的！”\n“哈哈哈哈哈哈哈！”\n他们笑了很久，然后各自回家去了。\n" ),
    ("ASCII art", None, "\n".join("*" * (at % 20) + " " * (20 - at % 20) + "|" for at in range(40)) + "\nfig. 1"),
    ("traditional prose", "zh", "訓練開始之前，從每個領域裡隨機抽取兩百條序列，封存起來，永遠不拿去訓練。"
     "體檢的好處是成對比較：同一條序列今天與昨天的損失高度相關，相減之後雜訊小得多。" ),
)  # fmt: skip
