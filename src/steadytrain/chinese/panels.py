"""Why the panel moves and what came of it, what shares are worth, and remarks on a panel:
`judge/patterns.py`, `judge/trends.py`, `judge/outlook.py`, `judge/counting.py`, `judge/glance.py`, `judge/shares.py`,
`train/looks.py`, `panels/drawing.py`."""

PANELS = {
    # evidence
    "its share of the tokens is {share:n}, as before": "其词元占比为 {share}，与之前相同",
    "its texts are as usual": "其文本与往常无异",
    "{name} {change:n} nats ({low:n} to {high:n}) against step {step:n}, {z:n} sigma from its curve":
        "{name} 比第 {step} 步变化 {change} nats（{low} 至 {high}），偏离原走势 {z} σ",
    "{moved:s}, and is not trained on": "{moved}，而训练数据中并没有它",
    "the learning rate rose from {before:n} to {after:n} between updates {first:n} and {last:n}":
        "第 {first} 至 {last} 次更新之间，学习率由 {before} 升至 {after}",
    "the learning rate fell from {before:n} to {after:n} between updates {first:n} and {last:n}":
        "第 {first} 至 {last} 次更新之间，学习率由 {before} 降至 {after}",
    "{rate:s}: of the rise, a part is the rate's alone (a third in a small model)":
        "{rate}：上升的一部分单由学习率造成（小模型中约占三分之一）",
    "the share of {name} in the tokens went from {before:n} to {after:n}": "{name} 的词元占比由 {before} 变为 {after}",
    "{name} is new: {share:n} of the tokens": "新领域 {name} 占词元的 {share}",
    "{share:s} after update {step:n}": "第 {step} 次更新之后，{share}",
    "since update {step:n} {after:n} of the sequences of {name} are corrupt, before {before:n}":
        "自第 {step} 次更新起，{name} 的序列有 {after} 损坏，之前为 {before}",
    "since update {step:n} {after:n} of the sequences of {name} hold text of the panel, before {before:n}":
        "自第 {step} 次更新起，{name} 的序列有 {after} 含有固定样本的文本，之前为 {before}",
    "training loss of {name} {excess:n} nats against before (+-{error:n})": "{name} 的训练损失比之前变化 {excess} nats（±{error}）",
    "its panel is {z:n} sigma from its curve: flat": "其固定样本偏离原走势 {z} σ：基本持平",
    "its training loss moved by {excess:n} nats (+-{error:n}), its panel by {panel:n} against its curve":
        "其训练损失变化 {excess} nats（±{error}），固定样本相对原走势变化 {panel}",
    "the learning rate did not turn": "学习率没有转折",
    "no text of the panel was seen in the training data": "训练数据中没有见到固定样本的文本",
    "d loss / d ln(share) of {name} is {slope:n} so far": "{name} 目前损失对 ln（占比）的导数为 {slope}",
    "{name} is not up: {z:n} sigma": "{name} 没有上升：{z} σ",
    "gradient norms x{factor:n} (+-{error:n} %)": "梯度范数变为 {factor} 倍（±{error} %）",
    "the learning rate did not rise, shares and texts are as before: not the data":
        "学习率没有上升，配比与文本也和之前一样：不是数据的问题",
    "no pattern fits": "没有符合的模式",
    "At step {step:n} the panel costs {share:n} of what it costs to know how often each token occurs (mean of {domains:n} domains), and the learning rate rises no more. The model has learned little else. Look at what is so from the first update on: a learning rate far too high, targets that do not belong to their tokens, a mask that hides the context, weights without a gradient. Nothing later in the run heals the first of them: start again with a quarter of the rate.":
        "第 {step} 步，固定样本的损失是“只知道每个词元出现频率”时的 {share}（{domains} 个领域的平均），而学习率已不再上升。模型几乎没有学到别的东西。请检查从第一次更新起就存在的问题：学习率远远过高、目标与词元错位、掩码遮住了上下文、权重得不到梯度。其中第一项在训练中途无法补救：请用四分之一的学习率重新开始。",
    # what is expected, and what would refute it
    "the panel of {names:l} stays on its curve": "{names} 的固定样本仍沿原走势",
    "the panel of {names:l} leaves its curve": "{names} 的固定样本偏离原走势",
    "the panel of {names:l} stays below its curve; it measures nothing any more":
        "{names} 的固定样本一直低于原走势；它已失去衡量意义",
    "the panel of {names:l} comes back to its curve, or other text of {again:l} that the run has never seen gained as much":
        "{names} 的固定样本回到原走势，或者 {again} 中训练从未见过的其他文本也有同样的下降",
    "{names:l} stays above its curve while such texts come": "只要还有这类文本，{names} 就一直高于原走势",
    "{names:l} comes back to its curve while such texts still come": "这类文本仍在出现，{names} 却回到原走势",
    "{names:l} turns and falls again by step {due:n}, while {new:l} falls on": "第 {due} 步之前，{names} 掉头回落，{new} 则继续下降",
    "{names:l} turns and falls again by step {due:n}": "第 {due} 步之前，{names} 掉头回落",
    "{names:l} still rises at step {due:n}": "到第 {due} 步，{names} 仍在上升",
    "{names:l} stays above its curve for as long as its share is what it is": "只要占比不变，{names} 就一直高于原走势",
    "{names:l} comes back to its curve at this share": "占比不变，{names} 却回到原走势",
    "{names:l} stays below its old curve": "{names} 一直低于原走势",
    "{names:l} comes back to its old curve at this share": "占比不变，{names} 却退回原走势",
    "{names:l} stays below the old curve while the rate is low": "学习率处于低位期间，{names} 一直低于原走势",
    "{names:l} comes back to the old curve while the rate is low": "学习率仍处于低位，{names} 却退回原走势",
    "{names:l} stays up or rises, until the rate, the optimizer or the hardware is mended":
        "{names} 居高不下或继续上升，直到学习率、优化器或硬件的问题得到解决",
    "{names:l} comes back by itself": "{names} 自行恢复",
    # what came of it
    "{pattern:w} explains it since {id}": "自 {id} 起，改由“{pattern}”解释",
    "{pattern:w} explains it": "改由“{pattern}”解释",
    "what caused it has ended": "起因已经消除",
    "{far:n} sigma from the old curve": "偏离原走势 {far} σ",
    "still {far:s}": "仍然{far}",
    "only {far:s}": "仅{far}",
    "the peak was {rise:n} nats, {undone:n} of it undone by now": "峰值高出 {rise} nats，目前已回落 {undone}",
    "{peak:s}, later than expected": "{peak}，比预期晚",
    "still rising: {peak:s}": "仍在上升：{peak}",
    "not clearly turned: {peak:s}": "没有明显回落：{peak}",
    # what shares are worth
    "By step {step:n}, what a share of the tokens is worth, {longest:n} updates after a change at most and against each domain's own curve: {said:s}. Where one share rises, others fall: add up both.":
        "截至第 {step} 步，词元占比的作用（占比变动后至多 {longest} 次更新，与各领域自身的走势相比）：{said}。一个领域占比上升，其他领域便要下降，两边都要计入。",
    "{name}: d loss / d ln(share) {slope:n} +-{error:n} ({changes:s}), twice the share {moved:n} +-{spread:n} nats":
        "{name}：损失对 ln（占比）的导数为 {slope} ±{error}（{changes}），占比加倍则变化 {moved} ±{spread} nats",
    "1 change, so its sign and order of size": "仅 1 次变动，只能看出正负和量级",
    "{count:n} changes": "{count} 次变动",
    "{words:s}, by the mixing law from {now:n} to {wanted:n} {gain:n} nats": "{words}；按混合定律，由 {now} 到 {wanted} 变化 {gain} nats",
    # remarks on a panel
    "The panel has no sequence of {name}, so its perplexity is not followed.": "固定样本中没有 {name} 的序列，故不跟踪其困惑度。",
    "Training text is not read (read_texts), so text of the panel is not found in it.":
        "没有读取训练文本（read_texts），因此查不出其中是否含有固定样本的文本。",
    "{blind:n} of {size:n} sequences have no text, or too little of their own, to be found in training text.":
        "{size} 条序列中有 {blind} 条没有文本，或独有的文本太少，无法在训练文本中查找。",
    "{common:n} of {size:n} sequences stand in several of the first training texts already, as boilerplate does. They are not called leaked, and tell less than the others.":
        "{size} 条序列中有 {common} 条，在最初的训练文本里就已多次出现（如套话、模板文字）。它们不算泄漏，参考价值也低于其他序列。",
    "the panel is looked at in {looked}, training computes {trained}: its perplexity is not that of the model as it trains. Write Panel(fixed, losses=f), where f(model, batch) computes as your loop does, autocast included":
        "固定样本用 {looked} 测量，训练却用 {trained} 计算：测得的困惑度并非训练中模型的困惑度。请写 Panel(fixed, losses=f)，其中 f(model, batch) 的算法与训练循环一致，包括 autocast",
    "{lost:n} documents or parts of files could not be read.": "有 {lost} 篇文档或文件片段无法读取。",
    "The panel of {name} has {count:n} sequences, not {wanted:n}: there is no more text that differs. Its perplexity is less sure.":
        "{name} 的固定样本只有 {count} 条序列，而非 {wanted} 条：没有更多互不相同的文本。其困惑度的把握较小。",
    "{count:n} sequences of {name} are too few for an interval: {floor:n} are the least.": "{name} 只有 {count} 条序列，不足以给出区间：至少需要 {floor} 条。",
    "The {count:n} sequences of {name} come from {distinct:n} documents, so they are not independent, and intervals of it are too narrow.":
        "{name} 的 {count} 条序列只出自 {distinct} 篇文档，彼此并不独立，其区间偏窄。",
}  # fmt: skip
