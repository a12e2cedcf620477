"""The frame of the report: style and words, English and Chinese."""

PAGE = """<!doctype html>
<html lang="LANG">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TITLE</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f23; --soft: #5b6470; --line: #dde1e6; --paper: #fff;
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
table { border-collapse: collapse; } .wide { overflow-x: auto; margin-bottom: .9rem; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 500; } .numbers td { font-variant-numeric: tabular-nums; }
.numbers tr > :not(:first-child) { text-align: right; }
.good { color: var(--good); } .bad { color: var(--bad); }
.charts { margin-bottom: .8rem; display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 600px), 1fr)); }
svg.chart { width: 100%; height: auto; background: var(--card); border-radius: 8px; max-width: 960px; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .title { font-size: 13px; font-weight: 600; fill: var(--ink); }
svg .label { font-weight: 600; } svg .flagged { font-size: 10px; fill: var(--bad); }
svg .grid { stroke: var(--line); } svg path { stroke-width: 1.3; stroke-linejoin: round; }
svg .flag { stroke: var(--bad); stroke-width: 1; stroke-dasharray: 2 3; opacity: .7; }
svg .held { stroke: var(--bad); stroke-width: 1.5; } svg .faint { opacity: .35; }
svg .band { opacity: .18; stroke: none; }
.small, figcaption, .note { color: var(--soft); font-size: .9rem; } .note { color: var(--bad); }
h2[id] { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1.2rem; } li { margin: .2rem 0; overflow-wrap: anywhere; }
li ul { background: var(--card); border-radius: 6px; padding: .5rem .8rem .5rem 1.8rem; margin: .4rem 0; } li ul ul { padding: 0 0 0 1.2rem; margin: .2rem 0; }
li.good::marker { content: "+  "; color: var(--good); } li.bad::marker { content: "\\2212  "; color: var(--bad); }
li.good, li.bad { color: inherit; }
.texts { margin-top: .8rem; display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr)); }
figure { margin: 0; min-width: 0; background: var(--card); border-radius: 6px; padding: .6rem .8rem;
  border-left: 3px solid var(--line); overflow-wrap: anywhere; }
figure.bad { border-left-color: var(--bad); }
.bar { display: flex; height: 18px; border-radius: 5px; overflow: hidden; background: var(--line); margin: .6rem 0 .5rem; max-width: 960px; }
.bar i { min-width: 1px; } .keys { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 0 0 .8rem; font-size: .9rem; }
.keys span { white-space: nowrap; } .keys i { display: inline-block; width: .7em; height: .7em; border-radius: 2px; margin-right: .4em; }
i.productive { background: var(--good); } i.repeated { background: #d9822b; } i.held { background: #e3b341; }
i.checkpoints { background: #2f8fa8; } i.panel { background: #6a5acd; } i.examination { background: #a06cd5; }
i.stalls { background: #8a939c; } i.detection { background: #a61e1e; } i.startup { background: #d9534f; }
i.waits { background: #e88f8c; } i.idle { background: #c3c9d0; }
pre { white-space: pre-wrap; margin: .4rem 0 0; max-height: 14rem; overflow: auto; font-size: 13px;
  unicode-bidi: isolate; direction: ltr; }
pre i { color: var(--soft); font-style: normal; }
</style>
</head>
<body>
<main>
BODY
</main>
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
        "account": "Where the time went",
        "part": "part of the time",
        "time": "time",
        "share": "share",
        "nothing": "Nothing is on record yet.",
        "advice": "Advice",
        "damaged": "{count} lines of the journal cannot be read and were left out.",
        "number": "curve",
        "first": "first",
        "least": "lowest",
        "most": "highest",
        "last": "last",
        "foretold": "The pale continuation is where the looks would lead if nothing changes, with the 95 % band of one look.",
        "versus": "{a} against {b}",
        "settings": "Settings that differ",
        "same_settings": "All settings on record are the same.",
        "setting": "setting",
        "mixture": "What was trained on",
        "tokens": "tokens",
        "training_loss": "Training loss at {what}",
        "equal_tokens": "equal tokens ({count:,})",
        "equal_steps": "equal steps ({count:,})",
        "difference": "difference",
        "whole": "all",
        "loss_note": "Means of the last {count} updates before that point, with the 95 % interval of the difference. The two runs saw the text in orders of their own, so sequences cannot be paired here.",
        "panel_paired": "The fixed panel, paired",
        "panel_note": "Both looked at the same {count} sequences: {a} at step {step_a} ({tokens_a:,} tokens), {b} at step {step_b} ({tokens_b:,} tokens). A difference is told apart from zero where its interval does not hold zero.",
        "told": "told apart",
        "yes": "yes",
        "no": "no",
        "counts": "Incidents and restarts",
        "opened": "incidents opened",
        "cured": "cured",
        "causes": "causes",
        "failures": "restarts",
        "undone": "updates undone",
        "not_compared": "What is not compared",
        "other_panel": "The panels are different ones ({a} and {b}): their sequences cannot be paired, and different text has different perplexity. Give both runs one panel.",
        "panel_missing": "{name} has no look at a panel on record.",
        "no_near_look": "No look of {a} and look of {b} lie within 1 % of each other in tokens, nor at one step.",
        "only_in": "Only {name} has the domains {domains}.",
        "no_common": "There is no stretch that both runs were trained through.",
        "other_tokens": "An update of {a} holds {per_a:,.0f} tokens and one of {b} {per_b:,.0f}: equal steps are not equal work.",
        "other_text": "Losses per token of different tokenizers cannot be compared; bits per byte can.",
        "verdict_versus": "At equal tokens the loss of {a} is {by} nats per token {how} than that of {b} (95 % interval {low} to {high}); its goodput is {good_a}, that of {b} {good_b}.",
        "verdict_same": "At equal tokens the losses of {a} and {b} are not told apart: {by} nats per token (95 % interval {low} to {high}); goodput {good_a} and {good_b}.",
        "higher": "higher",
        "lower": "lower",
        "verdict_none": "The two runs have no stretch of training in common, so their losses are not compared.",
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
        "account": "时间去向",
        "part": "时间的用途",
        "time": "时间",
        "share": "占比",
        "nothing": "尚无记录。",
        "advice": "建议",
        "damaged": "日志中有 {count} 行无法读取，未计入。",
        "number": "曲线",
        "first": "首值",
        "least": "最低",
        "most": "最高",
        "last": "末值",
        "foretold": "淡色延长线是走势不变时的预测，附单次测量的 95 % 区间。",
        "versus": "{a} 与 {b} 对比",
        "settings": "不同的设置",
        "same_settings": "记录在案的设置完全相同。",
        "setting": "设置",
        "mixture": "训练数据的构成",
        "tokens": "词元数",
        "training_loss": "{what}时的训练损失",
        "equal_tokens": "词元数相同（{count:,}）",
        "equal_steps": "步数相同（{count:,}）",
        "difference": "差",
        "whole": "全部",
        "loss_note": "取该点之前最后 {count} 次更新的均值，差值附 95 % 区间。两次训练的数据顺序不同，此处无法逐条配对。",
        "panel_paired": "固定样本（逐条配对）",
        "panel_note": "两次训练测量了同样的 {count} 条序列：{a} 在第 {step_a} 步（{tokens_a:,} 词元），{b} 在第 {step_b} 步（{tokens_b:,} 词元）。区间不含零，才算有差别。",
        "told": "有差别",
        "yes": "是",
        "no": "否",
        "counts": "事件与重启",
        "opened": "事件数",
        "cured": "治愈",
        "causes": "原因",
        "failures": "重启次数",
        "undone": "作废的更新",
        "not_compared": "未作比较的内容",
        "other_panel": "两次训练的固定样本不同（{a} 与 {b}）：序列无法配对，文本不同困惑度也不同。请给两次训练同一份样本。",
        "panel_missing": "{name} 没有固定样本的测量记录。",
        "no_near_look": "{a} 与 {b} 没有词元数相差 1 % 以内的测量，也没有同一步的测量。",
        "only_in": "只有 {name} 含领域 {domains}。",
        "no_common": "没有两次训练都经过的区段。",
        "other_tokens": "{a} 每次更新含 {per_a:,.0f} 词元，{b} 含 {per_b:,.0f}：步数相同不等于工作量相同。",
        "other_text": "分词器不同，每词元损失不可比较；可以比较每字节比特数。",
        "verdict_versus": "词元数相同时，{a} 的损失比 {b} {how} {by} 奈特/词元（95 % 区间 {low} 到 {high}）；{a} 的有效时间占 {good_a}，{b} 占 {good_b}。",
        "verdict_same": "词元数相同时，{a} 与 {b} 的损失看不出差别：相差 {by} 奈特/词元（95 % 区间 {low} 到 {high}）；有效时间分别占 {good_a} 和 {good_b}。",
        "higher": "高",
        "lower": "低",
        "verdict_none": "两次训练没有共同经过的区段，损失未作比较。",
    },
}
