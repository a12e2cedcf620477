"""The frame of the report: style and words, English and Chinese."""

PAGE = """<!doctype html>
<html lang="LANG">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TITLE</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f23; --soft: #667; --line: #dde1e6; --paper: #fff;
  --card: #f6f7f9; --good: #1a7f4b; --bad: #c0392b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ad; --line: #333a42;
  --paper: #15181c; --card: #1d2126; --good: #4cc38a; --bad: #ff7b6b; } }
body { font: 15px/1.5 system-ui, "Noto Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif;
  color: var(--ink); background: var(--paper); max-width: 1480px; margin: 0 auto; padding: 1.5rem; }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 2.4rem 0 .6rem; font-size: 1.15rem; }
h3 { margin: 1.2rem 0 .4rem; font-size: 1rem; } a { color: inherit; }
.verdict { font-size: 1.1rem; margin: .3rem 0 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 500; } .numbers td { font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--bad); }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 600px), 1fr)); }
svg.chart { width: 100%; height: auto; background: var(--card); border-radius: 8px; max-width: 960px; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .title { font-size: 13px; font-weight: 600; fill: var(--ink); }
svg .label { font-weight: 600; } svg .flagged { font-size: 10px; fill: var(--bad); }
svg .grid { stroke: var(--line); } svg path { stroke-width: 1.3; stroke-linejoin: round; }
svg .flag { stroke: var(--bad); stroke-width: 1; stroke-dasharray: 2 3; opacity: .7; }
svg .held { stroke: var(--bad); stroke-width: 1.5; } svg .faint { opacity: .35; }
svg .band { opacity: .18; stroke: none; }
.small, figcaption, .note { color: var(--soft); font-size: .9rem; } .note { color: var(--bad); }
section { border-top: 1px solid var(--line); margin-top: 2rem; } li { margin: .2rem 0; }
.cause { background: var(--card); border-radius: 6px; padding: .5rem .8rem; margin: .4rem 0; }
.cause ul { margin: .2rem 0; padding-left: 1.2rem; } .cause p { margin: 0; color: var(--soft); }
li.for::marker { content: "+  "; color: var(--good); } li.against::marker { content: "\\2212  "; color: var(--bad); }
.texts { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr)); }
figure { margin: 0; background: var(--card); border-radius: 6px; padding: .6rem .8rem;
  border-left: 3px solid var(--line); overflow-wrap: anywhere; }
figure.corrupt { border-left-color: var(--bad); }
pre { white-space: pre-wrap; margin: .4rem 0 0; max-height: 14rem; overflow: auto; font-size: 13px;
  unicode-bidi: isolate; direction: ltr; }
pre i { color: var(--soft); font-style: normal; opacity: .7; }
</style>
</head>
<body>
BODY
</body>
</html>
"""

WORDS = {
    "en": {
        "incidents": "Incidents",
        "curves": "Curves",
        "panel": "The fixed panel",
        "processes": "Processes and restarts",
        "ended": "ended at",
        "going": "is at",
        "verdict": "The run {state} step {step}: {count} incidents, {cured} of them cured.",
        "domains": "domains",
        "parameters": "parameters",
        "steps": "steps",
        "redone": "steps made again",
        "held": "updates held back",
        "attempts": "attempts",
        "checkpoints": "checkpoints",
        "versions": "versions",
        "quiet": "Nothing went wrong.",
        "step": "step",
        "signals": "signals",
        "cause": "cause",
        "remedy": "remedy",
        "outcome": "outcome",
        "empty": "No step is on record yet.",
        "loss": "loss",
        "grad": "gradient norm (log)",
        "lr": "learning rate (log)",
        "used": "used",
        "planned": "planned",
        "update": "update size (log)",
        "speed": "tokens per second",
        "legend": "Numbers mark incidents; faint curves are branches that a rollback gave up; red "
        "ticks are updates held back or values that are not finite.",
        "no_panel": "This run has no panel.",
        "perplexity": "perplexity (log), with its 95 % interval",
        "refuted": "would be refuted by",
        "suspect": "suspect",
        "control": "control",
        "sequence": "{role} {draw} ({domain}), step {step}, loss {loss:.2f}, z {z:+.1f}: {verdict}. "
        "{evidence}",
        "before": "weights of step {step}",
        "now": "weights then",
        "evidence": "Evidence",
        "no_exits": "No process died.",
        "persons": "What persons said",
        "waits": "waits for a person",
        "turned_down": "a word that was refused",
    },
    "zh": {
        "incidents": "事件",
        "curves": "曲线",
        "panel": "固定样本",
        "processes": "进程与重启",
        "ended": "结束于",
        "going": "进行到",
        "verdict": "训练{state}第 {step} 步：事件 {count} 起，治愈 {cured} 起。",
        "domains": "领域",
        "parameters": "参数量",
        "steps": "步数",
        "redone": "重做的步数",
        "held": "被拦下的更新",
        "attempts": "各段运行",
        "checkpoints": "检查点",
        "versions": "版本",
        "quiet": "一切正常。",
        "step": "步",
        "signals": "信号",
        "cause": "原因",
        "remedy": "处置",
        "outcome": "结果",
        "empty": "尚无记录。",
        "loss": "损失",
        "grad": "梯度范数（对数）",
        "lr": "学习率（对数）",
        "used": "实际",
        "planned": "计划",
        "update": "更新幅度（对数）",
        "speed": "每秒词元数",
        "legend": "数字标出事件；淡色曲线是回滚放弃的分支；红色短线是被拦下的更新或非有限值。",
        "no_panel": "本次训练没有固定样本。",
        "perplexity": "困惑度（对数）与 95 % 区间",
        "refuted": "若出现以下情况则不成立",
        "suspect": "可疑序列",
        "control": "对照序列",
        "sequence": "{role} {draw}（{domain}），第 {step} 步，损失 {loss:.2f}，z {z:+.1f}："
        "{verdict}。{evidence}",
        "before": "第 {step} 步的权重",
        "now": "当时的权重",
        "evidence": "证据",
        "no_exits": "没有进程退出。",
        "persons": "人的指令",
        "waits": "等待人的决定",
        "turned_down": "被拒绝的指令",
    },
}
