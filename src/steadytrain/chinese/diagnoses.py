"""Evidence for and against causes: `judge/evidence.py`, `judge/damage.py`, `judge/diagnosis.py`."""

DIAGNOSES = {
    # evidence
    "{signals:w}: {directions:w}": "{signals}：{directions}",
    "none of {scanned:n} sequences read is corrupt": "读过的 {scanned} 条序列无一损坏",
    "some sequences are corrupt: {defect:w}": "部分序列已损坏：{defect}",
    "most of them stand in {files}": "其中大多出自 {files}",
    "{alike:n} of them are nearly the same text": "其中 {alike} 条几乎是同一段文本",
    "under the weights of step {step:n} the suspect batch has loss {suspect:n}, another batch {control:n}":
        "用第 {step} 步的权重计算，可疑批次的损失为 {suspect}，另一批次为 {control}",
    "a batch from before the onset has loss {now:n} under the present weights, {before:n} under those of step {step:n}":
        "起点之前的一个批次，用当前权重计算损失为 {now}，用第 {step} 步的权重则为 {before}",
    "the steps since {step:n}, made again from the same state and data, came out as recorded: no memory and no link changed anything":
        "从第 {step} 步的状态出发，用同样的数据重算，结果与记录一致：内存和通信都没有改动任何数值",
    "the steps since {step:n}, made again from the same state and data, have another {what:w} from step {at:n} on":
        "从第 {step} 步的状态出发，用同样的数据重算，自第 {at} 步起{what}与记录不符",
    "the largest output logit of a batch from before the onset is {logit:n}; with a soft cap its loss would be {capped:s}":
        "起点之前的一个批次，最大输出 logit 为 {logit}；若加软上限，损失则为：{capped}",
    "{capped:s}, without one {now:n}": "{capped}；不加则为 {now}",
    "at {cap:n} {loss:n}": "{loss}（上限 {cap}）",
    "{share:n} of its tokens have their largest logit at that height: a soft cap of the model is saturated, and passes no gradient back":
        "其中 {share} 的词元，最大 logit 都顶在这一数值上：模型的软上限已饱和，梯度传不回去",
    # damage
    "{name} of the optimizer was {before:n} when the run began and is {after:n} since about step {step:n}; no remedy asked for it":
        "优化器的 {name} 在训练开始时为 {before}，约自第 {step} 步起变为 {after}，而没有任何处置要求这样做",
    "{share:n} of the weights have gradients smaller than epsilon now": "目前 {share} 的权重，梯度小于 epsilon",
    "a change of these settings that somebody made on purpose": "这些设置是有人特意改的",
    "{share:n} of the optimizer's second moments fell further since step {step:n} than their decay allows, up to {times:n} times: no update does that":
        "自第 {step} 步以来，优化器有 {share} 的二阶动量下降过快，最多达到衰减系数所允许的 {times} 倍：正常更新做不到这一点",
    "a change of beta2 or a deliberate reset of the optimizer since that step": "此步之后改过 beta2，或特意重置过优化器",
    "{count:n} moments of the optimizer have values that clipped gradients cannot have given them since step {step:n}":
        "优化器有 {count} 个动量的数值，是第 {step} 步以来经裁剪的梯度不可能累积出来的",
    "an edit of the optimizer's state by the training script itself": "训练脚本自己改写过优化器状态",
    "a weight moved {times:n} times as far since step {step:n} as the optimizer could have moved it":
        "自第 {step} 步以来，有权重的变化量达到优化器所能造成的 {times} 倍",
    "{count:n} weights are not finite": "有 {count} 个权重不是有限值",
    "an edit of the weights by the training script itself since that step": "此步之后训练脚本自己改写过权重",
    "the optimizer used {ratio:n} times the planned learning rate at step {step:n}":
        "第 {step} 步，优化器实际使用的学习率是计划值的 {ratio} 倍",
    "the learning rate moved by a factor of {factor:n} from one step to the next": "学习率在相邻两步之间变为 {factor} 倍",
    "after the step of the onset another batch has loss {full:n}; with half the learning rate it would have {half:n}":
        "走完起点那一步之后，另一批次的损失为 {full}；若学习率减半，则为 {half}",
    "a learning rate that equals its plan at every step from the onset on": "自起点起，每一步的学习率都与计划一致",
    "made again, the gradient norm of step {step:n} is {norm:n}": "重算第 {step} 步，梯度范数为 {norm}",
    "asked for the gradient of one batch twice, rank {ranks:l} gave another answer than before, or than the other ranks":
        "让各 rank 对同一批次求两次梯度，rank {ranks} 前后不一致，或与其他 rank 不一致",
    "a kernel that is known to give other results each time": "已知某个算子的结果本来就每次不同",
    "the gradient norm or the loss was not finite at step {step:n}; {what:c}": "第 {step} 步的梯度范数或损失不是有限值；{what}",
    "the loss was finite": "损失本身是有限值",
    "the loss was not finite either": "损失也不是有限值",
    "the update did not land": "这次更新没有写入模型",
    "an affected update landed": "有受影响的更新已写入模型",
    "the same step giving a non-finite value again from the same state and data":
        "从同样的状态和数据重算该步，又得到非有限值",
    # replicas
    "after update {step:n} rank {ranks:l} holds other bits than the rest of {copies:n} replicas: {parts:w}":
        "第 {step} 次更新之后，{copies} 个副本中 rank {ranks} 的比特与其余的不同：{parts}",
    "after update {step:n} ranks {ranks:l} hold different bits ({parts:w}), and two replicas cannot tell which is wrong":
        "第 {step} 次更新之后，rank {ranks} 的比特不一致（{parts}），只有两个副本，无法断定错在哪一个",
    "after update {step:n} ranks {ranks:l} hold different bits ({parts:w}), and no majority says which are wrong":
        "第 {step} 次更新之后，rank {ranks} 的比特不一致（{parts}），没有多数可以断定错在哪些",
    "after update {step:n} all replicas were alike": "第 {step} 次更新之后，所有副本尚且一致",
    "tensors that differ: {kinds}; one is {name}": "不一致的张量：{kinds}；其中之一是 {name}",
    "made again, the steps since {step:n} came out alike everywhere": "自第 {step} 步起重算，各副本结果一致",
    "made again, the steps since {step:n} came out different again": "自第 {step} 步起重算，各副本结果仍不一致",
    "when the tensors were compared one by one, all replicas were alike again": "逐个比较张量时，所有副本又一致了",
    "a training script that makes the ranks different on purpose": "训练脚本本来就有意让各 rank 不同",
    # diagnosis
    "{bad:n} of {all:n} suspect sequences are corrupt, {bad_controls:n} of {controls:n} controls":
        "可疑序列 {all} 条中损坏 {bad} 条，对照序列 {controls} 条中损坏 {bad_controls} 条",
    "{count:n} corrupt sequences among {scanned:n} read around the onset and ahead":
        "在起点前后及后续数据中读了 {scanned} 条序列，损坏 {count} 条",
    "draw {draw:n}, {source}: {evidence:s}": "数据序号 {draw}，{source}：{evidence}",
    "the same sequences being harmless to read: clean text behind the verdicts": "把这些序列读一遍，发现文本其实正常",
    "{share:n} of the sequences since step {step:n} came in the 32 steps before already; of those of the steps before the onset {before:n} did":
        "自第 {step} 步以来，{share} 的序列在之前 32 步内已出现过；而起点之前的各步，这一比例为 {before}",
    "a data order that repeats its sequences on purpose": "数据顺序本来就有意重复这些序列",
    "the gradient of the {name:w} layers grew to {top:n} times its usual norm, that of the others to {others:n} times at most":
        "{name}的梯度范数升至平时的 {top} 倍，其余各层至多 {others} 倍",
    "gradients that grow in the deep layers by as much": "深层梯度也有同样幅度的增长",
    "the {name:w} left its band upward, and nothing in the loss holds it back without a z-loss":
        "“{name}”向上越出正常范围，而没有 z-loss 时，损失函数对它没有任何约束",
    "the {name:w} left its band upward": "“{name}”向上越出正常范围",
    "logits that stay where they are while the loss rises": "损失上升，而 logit 并不随之变大",
    "the share of {name} in the tokens moved from {before:n} to {after:n} at about step {step:n}":
        "约在第 {step} 步，{name} 的词元占比由 {before} 变为 {after}",
    "the losses of single domains leaving their bands as well": "单个领域的损失也越出正常范围",
    "no text of it is flagged as corrupt": "其中没有文本被判为损坏",
    "a normal loss of the same batch under earlier weights": "同一批次用更早的权重计算，损失正常",
    "the loss of another batch was not compared": "没有拿其他批次的损失作比较",
    "the loss of other batches being normal under the present weights": "用当前权重计算，其他批次的损失正常",
    "no evidence could be gathered": "未能取得证据",
    "no rule's evidence was found": "所得证据不符合任何一条规则",
    "more evidence": "进一步的证据",
}  # fmt: skip
