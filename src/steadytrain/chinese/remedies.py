"""Why a remedy is taken, what came of it, and what is answered to an order: `judge/rungs.py`,
`judge/ladder.py`, `judge/treatment.py`, `judge/outcome.py`, `judge/requests.py`, `judge/judge.py`."""

REMEDIES = {
    # rungs
    "{why:s}. Look at the incident's evidence and decide.": "{why}。请查看该事件的证据后作决定。",
    "return to the state before it was damaged": "退回到损坏之前的状态",
    "the update with the wrong gradient did not land; nothing else is wrong": "梯度有误的那次更新没有写入模型，其他一切正常",
    "return to the state before the wrong gradient": "退回到梯度出错之前的状态",
    "{why:s}, from further back": "{why}，比上次退得更远",
    "the loss is well, only the logits grow: hold them with a z-loss": "损失正常，只是 logit 持续变大：用 z-loss 加以约束",
    "the state stays broken after two rollbacks: suspect the hardware": "两次回滚之后状态依然损坏：应怀疑硬件",
    "the attention's logits grow: scale the query and key weights of those heads":
        "注意力 logit 持续变大：缩小相应注意力头的 query 和 key 权重",
    "the logits grow on, and no loss is harmed: it is watched": "logit 仍在变大，但损失未受影响：继续观察",
    "the corrupt sequences alone were not all: leave out the whole affected window":
        "问题不只在这些损坏的序列：剔除整段受影响的数据",
    "the update with the non-finite value did not land; nothing else is wrong": "含非有限值的那次更新没有写入模型，其他一切正常",
    "gradients stay wrong after a rollback: suspect the hardware": "回滚之后梯度依然有误：应怀疑硬件",
    "the data order goes on repeating itself": "数据顺序仍在重复",
    "the logits grow on under a z-loss: hold the largest of them itself": "加了 z-loss，logit 仍在变大：改为直接约束最大的 logit",
    "return to before the onset and skip its data": "退回到起点之前，跳过这段数据",
    "every remedy for an unstable run was tried at this place": "针对训练不稳定的各种处置，在此处都已试过",
    "the batch was hard, not broken; the model is left alone": "这个批次只是难，并没有坏；不动模型",
    "another mixture is no illness; the losses of its domains are watched": "数据配比变了不算故障；继续观察各领域的损失",
    "no harm is seen that a remedy could undo": "没有看到可由处置挽回的损害",
    "no affected update landed, so leaving the corrupt sequences out is enough":
        "受影响的更新都没有写入模型，剔除损坏的序列即可",
    "return to before the repeated data and leave it out": "退回到重复数据之前，并剔除这些数据",
    "return to before the outbreak and damp the shallow layers' gradients": "退回到爆发之前，并压低浅层梯度",
    "it broke out again when the damping wore off: keep the gradients damped": "压制一放松又再次爆发：持续压低梯度",
    "the step was too long for the model: return to before it, and lower the learning rate":
        "这一步迈得太大：退回到它之前，并调低学习率",
    "the same place broke again without its data, so it is the state: lower the learning rate as well":
        "去掉这段数据后，同一位置再次出问题，可见根源在模型状态：同时调低学习率",
    "a lower learning rate did not hold: cut gradients far beyond their history and damp those of the shallow layers":
        "调低学习率没有稳住：裁剪远超历史水平的梯度，并压低浅层梯度",
    "still unstable: begin the moments anew, keep every update and epsilon small, and hold the logits with a z-loss":
        "依然不稳定：清零动量重新累积，限制每次更新的幅度，调小 epsilon，并用 z-loss 约束 logit",
    "it breaks whenever the learning rate comes back: it stays at half the plan":
        "学习率一恢复就出问题：此后保持为计划值的一半",
    "nothing held at this learning rate: begin the decay now": "在这一学习率下什么都稳不住：现在就开始衰减",
    "the gradients are in their band again, and no loss was harmed": "梯度已回到正常范围，损失未受影响",
    "nothing but the text is odd so far: leave the rest of it out, keep the model":
        "到目前为止只有文本异常：剔除其余坏文本，模型不动",
    "return to the state before the corrupt sequences and leave them out": "退回到损坏序列之前的状态，并剔除这些序列",
    "return to the state before the wrong learning rate, and re-warm from half of the plan":
        "退回到学习率出错之前的状态，从计划值的一半开始重新预热",
    "the moments are wrong in earlier states too: begin them anew and re-warm": "更早的状态里动量也有误：清零动量重新累积，并重新预热",
    "no two ranks hold the same weights, which no single fault does": "没有任何两个 rank 的权重相同，单个故障不会如此",
    "rank {rank:n} was named by its replicas {times:n} times: leave its host": "rank {rank} 已被其他副本指认 {times} 次：撤离它所在的主机",
    "return to the last state on which all replicas agreed": "回到所有副本一致的最后一个状态",
    "the replicas came apart again: return to an earlier state": "副本再次不一致：回到更早的状态",
    "the replicas come apart again after two rollbacks: suspect the hardware": "两次回滚之后副本依然不一致：应怀疑硬件",
    "the gradient of rank {rank:n} is wrong again: leave it out of the average": "rank {rank} 的梯度再次出错：求平均时不计入它",
    "no affected update landed: damp the shallow layers' gradients from now on":
        "受影响的更新都没有写入模型：从现在起压低浅层梯度",
    # ladder
    "{why:s} (not possible here: {missing:t})": "{why}（此处做不到：{missing}）",
    "{name} below {factor:n} of the plan": "{name} 低于计划值的 {factor} 倍",
    "the run has rolled back {count:n} times, its whole budget": "训练已回滚 {count} 次，次数已用完",
    "this incident has had {count:n} remedies, its whole budget": "此事件已用过 {count} 项处置，次数已用完",
    "{lost:n} of {all:n} updates were made again, the whole budget": "{all} 次更新中已重做 {lost} 次，额度已用完",
    # treatment
    "{why:s}; the mildest of {count:n} that worked in a trial": "{why}；试过 {count} 种，这是见效者中最温和的一种",
    "{why:s}; none of {count:n} worked in a trial, this is the strongest": "{why}；试过的 {count} 种都未见效，这是其中最强的一种",
    "asked by {who}": "由 {who} 提出",
    "{who} ordered it": "{who} 下达的指令",
    "it went away by itself": "自行消失",
    "it went away while a person was asked": "等人决定期间自行消失",
    "it did not come back": "没有再出现",
    # outcome
    "after {good:n} good steps again: {names:s}": "正常 {good} 步之后再次出现：{names}",
    "{signal:w} {direction:w}": "{signal}{direction}",
    "{good:n} committed steps after it with every signal in its band": "其后 {good} 步更新，所有信号都在正常范围内",
    "{good:s}, and no domain of the panel worse than before it": "{good}，固定样本也没有哪个领域比之前差",
    # requests and answers
    "a plan": "方案",
    "its plan is empty": "方案是空的",
    "a remedy is on its way; say it again when that is done": "有一项处置正在执行，请等它完成后再说一遍",
    "{name} is nothing that a person can order": "{name} 不能由人下令",
    "{name} cannot be carried out in this run": "本次训练无法执行 {name}",
    "step {to:n} is not before the present step {step:n}": "第 {to} 步不在当前第 {step} 步之前",
    "the run began after step {begin:n}, later than step {to:n}": "训练从第 {begin} 步之后才开始，晚于第 {to} 步",
    "{name} would begin after step {step:n}, which is over": "{name} 要从第 {step} 步之后开始，而那一步已经过去",
    "{who} would {verb:w} {name:t}: not proposed now": "{who} 想要{verb}“{name}”：目前没有这项提议",
    "{who}'s order is not carried out: {reason:t}": "{who} 的指令未执行：{reason}",
    # advice
    "No two ranks hold the same part of the model, so a memory or a kernel that changes a number silently is not seen before a loss or a norm shows it. DistributedDataParallel, or fully_shard on a mesh of two dimensions (replicas, shards), keeps copies to compare.":
        "没有两个 rank 持有模型的同一部分，内存或算子悄悄改动一个数值时，要到损失或范数显出异常才能发现。使用 DistributedDataParallel，或在二维网格（副本、分片）上使用 fully_shard，才有副本可以比较。",
    "This run has one undivided loss, so it can be seen that something goes wrong but not where. Give each sequence a domain (zh, en, code) to see which one it is.":
        "本次训练只有一个总损失，能看出有问题，却看不出问题在哪。请给每条序列标上领域（zh、en、code），便可看出是哪个领域。",
    "Step {step:n} had loss {before:n}; repeated from the same state and data it has {now:n}. Hardware, a nondeterministic kernel or an incomplete restore; what follows is judged afresh.":
        "第 {step} 步原来的损失为 {before}，用同样的状态和数据重算却是 {now}。可能是硬件、非确定性算子或恢复不完整所致；此后重新建立基准。",
    "Shortly before step {step:n} the share of {name} in the tokens went from {before:n} to {after:n}. The losses of the domains are judged one by one, so this is no incident by itself.":
        "第 {step} 步前不久，{name} 的词元占比由 {before} 变为 {after}。各领域的损失分开判断，所以这本身不算事件。",
}  # fmt: skip
