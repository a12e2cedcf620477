"""What is answered to a person's word: `standing.py`, `plans.py`, `control.py`, `train/desk.py`."""

PERSONS = {
    "nothing is proposed, so there is nothing to accept or refuse. To change the run by yourself, write: steadytrain remedy RUN order PLAN":
        "目前没有提议，无可同意或拒绝。若要自行改变训练，请写：steadytrain remedy RUN order PLAN",
    "{count:n} proposals wait, and no id says which is meant. Write one of: {names}": "有 {count} 项提议在等，却没有写明是哪一项。请写其中之一：{names}",
    "{name} cannot be accepted or refused: {why:s}": "{name} 不能同意或拒绝：{why}",
    "it {how:c} already. To end what it set, write: order 'cancel {name}'": "它{how}。要撤销它的设置，请写：order 'cancel {name}'",
    "was carried out": "已经执行", "is on its way": "正在执行",
    "in the mode 'observe' nobody is waited for. Write: mode ask, or order its plan: {plan}":
        "“只看”模式下不等任何人。请写：mode ask，或下达它的方案：{plan}",
    "{who} refused it after step {step:n}": "{who} 已在第 {step} 步之后拒绝了它",
    "no such proposal waits. {known:s}; write: steadytrain remedy RUN, to see them": "没有这样的提议在等。{known}；要查看，请写：steadytrain remedy RUN",
    "Those that wait: {names}": "在等的有：{names}",
    "None waits": "目前没有提议",
    "you are the person who would be asked. Write what shall be done": "要问的人就是你。请直接写明要做什么",
    "an update is held back by the gate in the moment in which it goes wrong; nobody can order it. To undo update {step:n}, write: roll back {back:n}":
        "更新只会在出错的当时被闸门拦下，无法由人下令。要撤销第 {step} 次更新，请写：roll back {back}",
    "this run cannot '{wanted}': its model, optimizer or schedule lacks what that needs. Write a plan of: {known}":
        "本次训练做不到“{wanted}”：模型、优化器或学习率计划缺少所需的条件。方案可用：{known}",
    "the run has made {now:n} updates, so it cannot return to {step:n}. Write a step before {before:n}":
        "训练只做了 {now} 次更新，无法退回到 {step}。请写 {before} 之前的一步",
    "the run cannot return to step {step:n}: {kept:s}. Write a later step; Session(keep=...) decides how far back states reach":
        "训练无法退回到第 {step} 步：{kept}。请写更晚的一步；能退多远由 Session(keep=...) 决定",
    "no state is kept": "没有保留任何状态",
    "the oldest state is of step {step:n}": "最早的状态是第 {step} 步的",
    "draws up to {used:n} have been used, so to leave out {first:n} to {last:n} changes nothing. Roll back to before them in the same plan: roll back STEP; skip draws {again:n}-{end:n}":
        "序号 {used} 及之前的数据已经用过，剔除 {first} 至 {last} 不会有任何效果。请在同一方案中先退回到它们之前：roll back STEP; skip draws {again}-{end}",
    "no update of this run will come to draw {first:n}: the last one ends before draw {last:n}. Write draws before that":
        "本次训练不会用到序号 {first} 的数据：最后一次更新止于序号 {last} 之前。请写更早的序号",
    "there is no rank {rank:n}. Write one from 0 to {last:n}": "没有 rank {rank}。请写 0 至 {last} 之间的编号",
    "without rank {rank:n} no rank's gradient would be left. Write another plan": "去掉 rank {rank} 就没有梯度可用了。请换一个方案",
    "nothing that {remedy} set is in force. {shown:s}": "{remedy} 没有仍在生效的设置。{shown}",
    "Write one of: {names}": "请写其中之一：{names}",
    "Nothing is in force": "目前没有生效中的设置",
    "'from {step:n}' lies in the past: the plan can hold after update {since:n} at the earliest. Leave 'from' out, or roll back to there in the same plan":
        "“from {step}”已成过去：方案最早从第 {since} 次更新之后生效。请去掉 from，或在同一方案中先退回到那里",
    "the plan would hold after update {step:n}, and the run's last one is {last:n}. Roll back in the same plan":
        "方案要在第 {step} 次更新之后才生效，而训练最后一次更新是第 {last} 次。请在同一方案中先回滚",
    # before it is sent
    "the run has ended after step {step:n}, so nobody hears a word. Start it again with more steps, or give the folder of a run that is under way":
        "训练已在第 {step} 步之后结束，没有谁会听到指令。请加大步数重新启动，或给出正在进行的训练的目录",
    "{given} is no open incident of this run. Write one of: {known:t}": "{given} 不是本次训练未结的事件。请写其中之一：{known}",
    "none; leave --incident out": "没有；请去掉 --incident",
    "the run would not take this word: {error:t}": "训练不会接受这条指令：{error}",
    "{what} holds characters that cannot be printed": "{what} 含有无法显示的字符",
    '{verb:i} without a proposal; write "remedy": its id': '{verb} 没有写明是哪项提议；请写 "remedy"：它的编号',
    '"plan" belongs to the verb order, and order needs one': '"plan" 只用于 order，而 order 必须有方案',
    # the desk of a run
    "another word had this name before. Give the file a new name": "先前已有同名的指令。请给文件换个名字",
    "the run ended before it could be heard": "训练在听到它之前已经结束",
    "the judge has failed, so nothing can be concluded from a word; the run goes on unguarded. Start it again":
        "判断器已出错，无法处理指令；训练在失去看护的情况下继续。请重新启动",
    "{name} has waited for too long: {error:s}. Refuse it first": "{name} 等得太久了：{error}。请先拒绝它",
    # the control folder
    "it is no plain file with one name, so its owner need not be who wrote it. Write it with: steadytrain remedy":
        "它不是只有一个名字的普通文件，所有者未必就是写它的人。请用 steadytrain remedy 来写",
    "it has more than {most:n} bytes, and a word is a few lines. Write it with: steadytrain remedy":
        "它超过 {most} 字节，而指令只有几行。请用 steadytrain remedy 来写",
    "it is no word of a person ({error}). Write it with: steadytrain remedy": "它不是人的指令（{error}）。请用 steadytrain remedy 来写",
    "{name} cannot be the id of a word. Name the file with letters, digits, '.', '_', '+' and '-', at most 100 of them.":
        "{name} 不能作为指令的编号。文件名请只用字母、数字、“.”、“_”、“+”和“-”，至多 100 个字符。",
    "{folder} cannot be written ({error}), so the run would not hear of it. Only accounts that may write there give orders: use such an account, or let its owner open the folder with chmod.":
        "{folder} 不可写（{error}），训练听不到。只有能写该目录的账号才能下令：请换用这样的账号，或请所有者用 chmod 放开目录。",
    "the run may not read it. Let the file be read: chmod a+r": "训练无权读取它。请放开读权限：chmod a+r",
    # a plan that is not understood
    "the plan is empty. Write one, such as: {example}": "方案是空的。请写一个，例如：{example}",
    "the plan rolls back twice, to {steps}, and a run is at one place only. Write one 'roll back'.":
        "方案回滚了两次（{steps}），而训练只能在一处。请只写一个 roll back。",
    "{words} is no action that is known. Write one of: {known}": "{words} 不是已知的动作。请写其中之一：{known}",
    "{shown} is unclear: {why:s}. Write for instance: {example}": "{shown} 不清楚：{why}。请写，例如：{example}",
    "{text} stands where {wanted:t} must stand": "{text} 处应当是：{wanted}",
    "{words} means nothing here": "{words} 在这里没有意义",
    "{word} is none of its options ({known})": "{word} 不是它的选项（{known}）",
    "{word} stands there twice": "{word} 写了两遍",
    "it does not say {word}": "没有写明 {word}",
    "a whole number of updates": "更新次数（整数）",
    "the number of an update": "更新的编号",
    "draws such as 5000-6000 or 5000-6000, 7012": "数据序号，如 5000-6000 或 5000-6000, 7012",
    "a number above 0": "大于 0 的数",
    "a number from 0 to 1": "0 到 1 之间的数",
    "the number of a rank, from 0": "rank 的编号（从 0 起）",
    "the id of a remedy": "处置的编号",
    "a question in double quotes": "双引号中的问题",
    # what can be ordered
    "return to the state after update 1200; 'roll back by 100' counts from now":
        "退回到第 1200 次更新之后的状态；roll back by 100 则从现在起往回数",
    "leave these sequences out of the data order": "从数据顺序中剔除这些序列",
    "halve the learning rate for 100 updates, then re-warm over 400": "学习率减半，保持 100 次更新，再用 400 次更新恢复",
    "multiply Adam's epsilon": "给 Adam 的 epsilon 乘以系数",
    "damp the embedding's gradients, and less those of deeper blocks ('reach 0': not)":
        "压低嵌入层的梯度，越深的层压得越少（reach 0：只压嵌入层）",
    "hold the logits; 'form max' takes the largest logit, not their logsumexp":
        "约束 logit；form max 取最大 logit，而非 logsumexp",
    "clip gradients by a running threshold: zclip, adagc or spikes": "按滑动阈值裁剪梯度：zclip、adagc 或 spikes",
    "set the optimizer's moments to zero once": "把优化器动量清零一次",
    "divide updates that are larger than their gradients' history lets expect": "更新超出梯度历史所预期时，按比例缩小",
    "shrink query and key weights of heads whose logits grow beyond it": "注意力 logit 超过它的头，缩小其 query 和 key 权重",
    "save, and ask to be started without the host of that rank (exit status 75)": "存档，并要求撤开该 rank 所在的主机重新启动（退出状态 75）",
    "leave that rank's gradient out of the average": "求平均时不计入该 rank 的梯度",
    "begin the schedule's decay now": "现在就开始学习率衰减",
    "end what an earlier remedy set": "撤销先前某项处置的设置",
    "hold one update back; only the gate can do so, in time": "拦下一次更新；只有闸门来得及这样做",
    "let a person decide; no order, but a plan may hold it": "交由人决定；不能下令，但方案中可以包含",
}  # fmt: skip
