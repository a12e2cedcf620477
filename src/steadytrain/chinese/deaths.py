"""Ends of ranks and what follows, ages of checkpoints, restored states: `deaths.py`,
`judge/restarts.py`, `judge/durability.py`, `judge/restored.py`, `launch/stacks.py`."""

DEATHS = {
    # the sorts of ends
    "it asked to be started elsewhere": "它要求换一台主机启动",
    "it asked not to be started again": "它要求不再启动",
    "it did not move": "它没有进展",
    "the device's memory ran out": "显存耗尽",
    "the host's memory ran out": "主机内存耗尽",
    "shared memory ran out (/dev/shm)": "共享内存耗尽（/dev/shm）",
    "the hardware reported a fault": "硬件报告故障",
    "a disk refused to work": "磁盘拒绝读写",
    "another rank was gone": "另一个 rank 已经不在",
    "ranks could not reach each other": "各 rank 之间无法通信",
    "the script, its arguments or its environment are wrong": "脚本、参数或环境有误",
    "a process that loads data ended": "加载数据的进程退出",
    "somebody ended it from outside": "被外部终止",
    "the cause is not known": "原因不明",
    # how a rank ended
    "hung in phase {phase:w} for {seconds:n} s": "卡在{phase}阶段 {seconds} 秒",
    "killed by {signal:i}": "被 {signal} 杀死",
    "exited with status {code:n}": "以状态 {code} 退出",
    "{how:s}, {error:t}": "{how}，{error}",
    "{how:s}: {error:t}": "{how}：{error}",
    "by the kernel's out-of-memory killer": "由内核的 OOM killer 终止",
    "stopped by a signal": "被信号暂停",
    "waiting for other ranks {where:s}": "{where}，在等其他 rank",
    "in {function:i}, {file:i}:{line:n}": "停在 {function}（{file}:{line}）",
    # why it is started again
    "rank {rank:n} ended at {place:c}": "rank {rank} 在{place}退出",
    "{where:s}, since {sort:c}": "{where}，因为{sort}",
    "an unknown step": "未知的一步",
    "step {step:n}": "第 {step} 步",
    "{where:s}; the run had made steps that it had not made before": "{where}；在此之前训练有新的进展",
    "{where:s}; a first restart costs little": "{where}；首次重启代价很小",
    "{where:s}; {count:n} in a row without a new step, so it waits before the next":
        "{where}；已连续 {count} 次没有新的进展，先等一等再启动",
    # why it is not
    "rank {rank:n} asked to be started elsewhere (exit status {code:n}).": "rank {rank} 要求换一台主机启动（退出状态 {code}）。",
    "rank {rank:n} asked not to be started again (exit status {code:n}).": "rank {rank} 要求不再启动（退出状态 {code}）。",
    "the hardware was named for {count:n} ends on this host, so it would be again. Start the run on another host: it goes on from its last checkpoint.":
        "本机已有 {count} 次退出归因于硬件，再来还会如此。请换一台主机启动：训练会从最后一个检查点继续。",
    "rank {rank:n} ended before its first step, and {sort:c}, so it would end again. {mend:s}":
        "rank {rank} 在第一步之前就退出，{sort}，再启动还会退出。{mend}",
    "rank {rank:n} refused what it was given, and would refuse it again. Do what its message says, then start the run again.":
        "rank {rank} 拒绝了给它的设置，再启动还会拒绝。请按它的提示处理，然后重新启动。",
    "{sort:c} {times:n} times at {place:c}, so that step needs more than there is: a smaller batch, or activation checkpointing. {mend:s}":
        "在{place}已 {times} 次{sort}，说明这一步需要的超过现有容量：请减小批次，或启用激活重计算。{mend}",
    "rank {rank:n} ended in the same way {times:n} times at {place:c}, so starting again only repeats it. {mend:s}":
        "rank {rank} 在{place}以同样的方式退出了 {times} 次，再启动只会重演。{mend}",
    "{count:n} restarts in a row came no further than step {step:n}, so the next would not either. {mend:s}":
        "连续 {count} 次重启都没有越过第 {step} 步，再来也不会。{mend}",
    "{count:n} restarts in a row ended before any rank reported a step, so training never begins. {mend:s}":
        "连续 {count} 次重启，都在任何 rank 报告步数之前就结束了，训练始终没有开始。{mend}",
    "the run was restarted {count:n} times, its whole budget, so the machine or the script cannot be left alone. {mend:s}":
        "训练已重启 {count} 次，次数已用完：机器或脚本离不开人。{mend}",
    "Read logs/rank{rank:n}.{life:n}.log, mend the cause, then start the run again: it goes on from its last checkpoint.":
        "请查看 logs/rank{rank}.{life}.log，排除原因后重新启动：训练会从最后一个检查点继续。",
    # hosts
    "host {host:i} left": "主机 {host} 离开",
    "host {host:i} is not to be trusted, as a rank of its own says": "主机 {host} 不可信（其上的 rank 如此报告）",
    "host {host:i} was silent for {seconds:n} s": "主机 {host} 已有 {seconds} 秒没有音讯",
    "ranks {ranks:t} went with it; the hosts that are left begin as soon as they are enough":
        "其上的 rank（{ranks}）一并退出；其余主机数量足够后随即继续",
    "{names:t} came and can be let in": "新到的主机可以加入：{names}",
    "all ranks save and leave after the same step, so nothing is made again":
        "所有 rank 在同一步之后保存并退出，不会重做任何一步",
    "{count:n} restarts in a row came no further than step {step:n}, so these hosts cannot keep together. Look at the network between them, then start the run again: it goes on from its last checkpoint.":
        "连续 {count} 次重启都没有越过第 {step} 步，说明这些主机无法保持在一起。请检查它们之间的网络，再重新启动：训练会从最后一个检查点继续。",
    # ages of checkpoints
    "A checkpoint is durable again, after step {step:n}.": "第 {step} 步之后，检查点又能可靠落盘。",
    "{what:s} at step {step:n}, as a rule one comes every {every:n}. A lost machine would lose them. {why:s}":
        "到第 {step} 步，{what}，而平时每 {every} 步就有一个。机器一旦丢失，这些步数就白做了。{why}",
    "The newest durable checkpoint is {age:n} steps old": "最新的已落盘检查点已是 {age} 步之前的",
    "No checkpoint has become durable in {age:n} steps": "已有 {age} 步没有检查点落盘",
    "{count:n} saves in a row have failed, the last one because {reason:t}.": "已连续 {count} 次保存失败，最近一次的原因：{reason}。",
    "A save has begun and nothing was heard of it since: the disk may hang.": "有一次保存开始之后再无音讯：磁盘可能已卡住。",
    # restored states
    "Update {step:n}: {what:t}. Restored states are compared without it, and steps made again will differ. Put autocast and what else the loop adds into the model's forward.":
        "第 {step} 次更新：{what}。此后核对恢复的状态时不比较损失，重做的步骤也会有出入。请把 autocast 以及训练循环额外所做的都放进模型的 forward。",
    "The run goes on after step {step:n} from {source:t}, and it is not as recorded: {what:t}. No other state that was tried agrees better, so look for the reason around the states: another version, data order, schedule or machine.":
        "训练在第 {step} 步之后继续（状态取自：{source}），但与记录不符：{what}。试过的其他状态也不更吻合，原因应在状态之外：版本、数据顺序、学习率计划或机器不同。",
}  # fmt: skip
