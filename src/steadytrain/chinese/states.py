"""Saved and restored states: `train/restores.py`, `train/manifest.py`, `train/checkpoints.py`,
`train/crew.py`, `train/mapped.py`, `train/snapshots.py`, `train/survivors.py`, `slots.py`."""

STATES = {
    "rank {rank:n}: {what:s}": "rank {rank}：{what}",
    # what a restored state is compared with
    "called with a batch's tokens alone, the model gives other losses than the training loop for {count:n} of its sequences, so no loss can tell anything about a state":
        "只用一个批次的词元调用模型，其中 {count} 条序列的损失与训练循环不同，因此无法凭损失判断状态",
    "the batch of update {step:n} has loss {now:n}, on record is {was:n}": "第 {step} 次更新的批次损失为 {now}，记录为 {was}",
    "{count:n} sequences of update {step:n} have another loss than then": "第 {step} 次更新中有 {count} 条序列的损失与当时不同",
    "the random state is {now}, when it was taken it was {was}": "随机状态为 {now}，保存时为 {was}",
    "the data goes on at draw {now:n}, update {step:n} ended at {was:n}": "数据将从序号 {now} 继续，而第 {step} 次更新止于 {was}",
    "the learning rate is {now:n}, update {step:n} left {was:n}": "学习率为 {now}，而第 {step} 次更新之后应为 {was}",
    "the learning rate of group {group:n} is {now:n} for update {step:n}, planned is {was:n}":
        "参数组 {group} 在第 {step} 次更新的学习率为 {now}，计划为 {was}",
    "{name} is {now:n}, on record is {was:n}": "{name} 为 {now}，记录为 {was}",
    "the optimizer has counted {now:n} updates, {was:n} are on record": "优化器计数为 {now} 次更新，记录为 {was} 次",
    # why a checkpoint is refused
    "{path} {why:s}; what it would restore is not what was saved. Restore an older one.":
        "{path} {why}；由它恢复出来的不会是当初保存的内容。请恢复更早的检查点。",
    "{path} has format {theirs:n}, this version reads up to {ours:n}: it would misread it. Restore with the version of steadytrain that wrote it.":
        "{path} 的格式为 {theirs}，本版本只能读到 {ours}，会读错。请用写它的那个版本的 steadytrain 恢复。",
    "has a damaged {name}: its hash does not match its words": "的 {name} 已损坏：校验值与内容不符",
    "has no {name}, so it was never finished (torn)": "没有 {name}，说明从未写完（残缺）",
    "has a {name} that cannot be read ({error})": "的 {name} 无法读取（{error}）",
    "is missing the file {name}": "缺少文件 {name}",
    "holds {name}, which cannot be read ({error})": "中的 {name} 无法读取（{error}）",
    "holds {found:n} of {name}'s {size:n} bytes (truncated)": "中的 {name} 只有 {found} 字节，应为 {size} 字节（被截断）",
    "holds a damaged {name}: its xxh3-128 has changed": "中的 {name} 已损坏：xxh3-128 校验值不符",
    "{path} verified but could not be loaded ({error:t}), so the live state is neither old nor new. Restore another checkpoint before training on.":
        "{path} 通过了校验却无法载入（{error}），当前状态因此不新不旧。请先恢复另一个检查点，再继续训练。",
    "{path} is of another model (fingerprint {theirs}, this model's is {ours}): its tensors do not fit. Build the model that the run began with, or choose another home.":
        "{path} 属于另一个模型（指纹 {theirs}，本模型为 {ours}）：张量对不上。请使用训练开始时的模型，或另选目录。",
    "{path} is of another model: {name} is {theirs} in it and {ours} here, so it would stay unrestored. Build the model that the run began with, or choose another home.":
        "{path} 属于另一个模型：{name} 在其中为 {theirs}，此处为 {ours}，无法恢复。请使用训练开始时的模型，或另选目录。",
    # why none could be saved
    "{why:t}; training goes on without checkpoint {name}": "{why}；训练继续，没有检查点 {name}",
    "the ranks hold tensors of different names or shapes, which nothing could put together again. Shard with DTensor (fully_shard), or replicate with DDP":
        "各 rank 所持张量的名称或形状不同，无法再拼合。请用 DTensor（fully_shard）切分，或用 DDP 复制",
    "it was skipped: one checkpoint was being written and the next one waited, so the disk is slower than they come. Write a larger checkpoint_every":
        "已跳过：一个检查点正在写，下一个又在等，说明磁盘跟不上保存的频率。请调大 checkpoint_every",
    "no rank vouches for {name}": "没有哪个 rank 认领 {name}",
    "the disk is full ({error}). Free some space": "磁盘已满（{error}）。请腾出空间",
    "a file could not be written to its end, as on a full disk ({error})": "文件没能写完，多半是磁盘已满（{error}）",
    "the folder cannot be written ({error}). Let this user write there": "目录不可写（{error}）。请给本用户写权限",
    # the process that writes, and the second copy
    "the process that writes checkpoints {how:c}; {after:c}": "写检查点的进程{how}；{after}",
    "was killed by signal {number:n}": "被信号 {number} 杀死",
    "ended with {code}": "以 {code} 结束",
    "the next save starts another": "下次保存会另起一个",
    "from now on this process writes by itself, which slows training more": "此后由训练进程自己写，对训练拖累更大",
    "the state changed in shared memory while it was written: a bit has flipped": "写出途中共享内存里的状态变了：有比特翻转",
    "{why:s}, {tries:n} times in a row; it is tried again with the next checkpoint": "{why}，连续 {tries} 次；下一个检查点时再试",
    "nothing has gone up for {seconds:n} s at the end": "结束时已有 {seconds} 秒没有任何数据上传",
    "{url} holds another run ({name}), which would be overwritten. Write another URL":
        "{url} 中是另一次训练（{name}），会被覆盖。请换一个 URL",
    "another process writes to {url} now, so this one does not any more. Let one of them write to another URL":
        "现在有另一个进程在写 {url}，本进程不再写入。请让其中一个换一个 URL",
    "the run has gone on from {url} in another home: {name} is longer or another there, and two ends of one run cannot be told apart. Go on there; or write another URL":
        "这次训练已从 {url} 在别的目录继续：那里的 {name} 更长或不同，同一训练的两个结尾无法分辨。请在那边继续，或换一个 URL",
    # copies on a neighbour host
    "rank {rank:n}, from {host:i}: {why:s}": "rank {rank}，来自 {host}：{why}",
    "it has no room for copies: {why:s}": "它没有地方放副本：{why}",
    "this host has no room to hold states: {why:s}": "本主机没有地方留住状态：{why}",
    "there is no other host": "没有别的主机",
    "{host:i} takes no copies: --neighbour-copies is missing there": "{host} 不接收副本：那里没有写 --neighbour-copies",
    "a bit has changed under way, or in the memory it lay in": "传输途中或所在内存里有比特被改动",
    "it came with a changed bit": "收到时有比特被改动",
    "it is no longer there": "它已经不在了",
    "this host was asked to leave": "本主机被要求离开",
    "the states in memory are each a part of {theirs:n} ranks' and this start has {ours:n}": "内存里的状态各是 {theirs} 个 rank 的一部分，而本次启动有 {ours} 个",
    "no state in memory is there for every rank": "内存里没有每个 rank 都有的状态",
    # states in shared memory
    "states of {theirs:n} ranks, this run has {ours:n}": "其中的状态来自 {theirs} 个 rank，本次训练有 {ours} 个",
    "{name:i}: {why:s}": "{name}：{why}",
    "it is of {what:c}: {theirs}, not {ours}": "它属于{what}：{theirs}，而非 {ours}",
    "another version of steadytrain": "另一版本的 steadytrain",
    "another home": "另一个目录",
    "another rank": "另一个 rank",
    "another number of ranks": "另一种 rank 数",
    "another model": "另一个模型",
    "CUDA cannot pin it, so a copy would make the GPU wait": "CUDA 无法锁定这段内存，拷贝会让 GPU 等待",
    "{path} has {free} free, {needed} are needed and {left} are left to others": "{path} 可用 {free}，需要 {needed}，并给其他程序留 {left}",
    "it belongs to another account": "它属于另一个账号",
    "its first bytes are damaged, or it is no slot": "开头几个字节已损坏，或者根本不是状态文件",
    "the length of its header is damaged": "文件头的长度已损坏",
    "its seal does not match its bytes, so some bit has changed": "封印与内容不符，说明有比特被改动",
    "it has {size:n} bytes, fewer than any slot": "它只有 {size} 字节，小于任何状态文件",
    "its header is damaged": "文件头已损坏",
    "the snapshot was overwritten; take a lease to keep it": "快照已被覆盖；需先租用才能保留",
    "the snapshot was overwritten before it was leased": "快照在租用之前已被覆盖",
    "it has {theirs:n} parameter groups, this optimizer has {ours:n}": "其中有 {theirs} 个参数组，本优化器有 {ours} 个",
    "{name} is only {where:c}": "{name} 只在{where}有",
    "here": "此处", "in it": "其中",
    "{name} is {theirs} in it and {ours} here": "{name} 在其中为 {theirs}，此处为 {ours}",
    "{name} in shared memory has no place in this optimizer": "共享内存中的 {name} 在本优化器中没有对应",
    "{name} is on one side only": "{name} 只有一边有",
}  # fmt: skip
