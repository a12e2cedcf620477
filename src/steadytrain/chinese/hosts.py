"""Lines that `run` writes on a console, of this host and of several: `launch/`."""

HOSTS = {
    "rank {rank:n}, start {life:n}": "rank {rank}，第 {life} 次启动",
    "{where:s}: {cause:t}; starting again {when:c}": "{where}：{cause}；{when}重新启动",
    "now": "立即", "in {seconds:n} s": "{seconds} 秒后",
    "{where:s}: {cause:t}. Given up: {why:t}": "{where}：{cause}。放弃：{why}",
    "{cause:t}. Given up: {why:t}": "{cause}。放弃：{why}",
    "rank {rank:n} needs {mine:n} s a step for its own work, the others {theirs:n} s: they wait for it":
        "rank {rank} 每步自己的工作要 {mine} 秒，其他 rank 只要 {theirs} 秒：都在等它",
    "the log of rank {rank:n} ends here: {error}": "rank {rank} 的日志到此为止：{error}",
    "this home cannot be locked: {error}": "这个目录无法加锁：{error}",
    # what is imported once
    "each start imports everything again: {reason:t}": "每次启动都要重新导入全部模块：{reason}",
    "this start imports everything by itself: its parent is still at it": "这次启动自行导入全部模块：父进程还没有准备好",
    "this start imports everything by itself, its parent is replaced: {reason:t}": "这次启动自行导入全部模块，并更换父进程：{reason}",
    "its parent ends again and again": "父进程一再退出",
    "it ended; see {folder}/parent.log": "它已退出；见 {folder}/parent.log",
    "it did not answer": "它没有回应",
    "{system:i} is not Linux": "{system} 不是 Linux",
    "{program} is not Python": "{program} 不是 Python",
    "python {one:i} is not a script or a module": "python {one} 既不是脚本也不是模块",
    "no script is named": "没有指明脚本",
    "{path} is not a file of Python source": "{path} 不是 Python 源文件",
    "{path} cannot be read: {error}": "{path} 无法读取：{error}",
    "{path} asks for it": "{path} 要求如此",
    # how hosts meet
    "the rendezvous at {place:i} is lost: {why:t}": "与会合点 {place} 失去联系：{why}",
    "the hosts meet at {address:i}:{port:n}, on this host": "各主机在 {address}:{port} 会合，即本机",
    "the others meet at {address:i}:{port:n}": "其他主机在 {address}:{port} 会合",
    "{why:t}: this host ends its ranks and looks for the others": "{why}：本机结束自己的 rank，去找其他主机",
    "it does not answer": "它没有回应", "the leader is silent": "主导的主机没有音讯",
    "the run ended while this host waited to be let in": "本机等待加入时，训练已经结束",
    "fewer than {least:n} hosts met within {seconds:n} s: this one leaves, and asks to be started again":
        "{seconds} 秒内会合的主机不足 {least} 台：本机离开，并请求重新启动",
    "{count:n} hosts go on together: {names:l}; {leader:i} leads": "{count} 台主机一起继续：{names}；由 {leader} 主导",
    "all ranks of this host have finished; {why:t}": "本机的 rank 都已完成；{why}",
    "too few hosts are heard of: this one may be cut off, and ends its ranks": "有音讯的主机太少：本机可能被隔断，结束自己的 rank",
    "too few hosts are heard of": "有音讯的主机太少",
    "some ranks did not leave in time, and are ended": "有些 rank 没有按时离开，被强行结束",
    "{cause:t}; the others go on": "{cause}；其他主机继续",
    "{names:l} did not come back": "{names} 没有回来",
    "host {host:i} leaves": "主机 {host} 离开",
    "{names:l} leaves, and {left:n} hosts are too few": "{names} 离开，剩下 {left} 台主机太少",
    "rank {rank:n}: {cause:t}": "rank {rank}：{cause}",
    # copies of states in the memory of the next host
    "every host's states are in its neighbour's memory too, as of step {step:n}":
        "每台主机的状态也已放进邻机的内存，第 {step} 步为止",
    "this state could not be had: {why:t}": "没有取到这份状态：{why}",
    "{name:i} does not tell what states it has: {error}": "{name} 没有说明它有哪些状态：{error}",
    "a caller at the port for copies was turned away: {error}": "拒绝了一个连到副本端口的来访者：{error}",
}  # fmt: skip
