package lang

// zhObserve holds the sentences about enforcement: observe.
var zhObserve = map[string]string{
	"the observation of %s ends on %s: from then on its requests are refused where they pass now": "对 %s 的观察将于 %s 结束：此后，现在放行的请求会被拒绝",
	"the observation of %s ended on %s: its policy is enforced":                                   "对 %s 的观察已于 %s 结束：其策略已强制执行",
	"%d days left": "剩余 %d 天",
	"%s is NOT ENFORCED until %s (%s): what its policy refuses passes to today's backends":                                                              "%s 在 %s 之前未强制执行 (%s)：其策略拒绝的请求会放行到现有后端",
	"write enforcement: enforce as soon as the counts allow it":                                                                                         "计数允许后，请尽快写 enforcement: enforce",
	"write enforcement: enforce, and remove observeUntil":                                                                                               "写 enforcement: enforce，并删除 observeUntil",
	"look at what passes now (domicile plan --observed), and mend the policy or move observeUntil":                                                      "查看现在放行了什么 (domicile plan --observed)，然后修正策略，或者推迟 observeUntil",
	"%s is under observation, and today: of the deployment has no backend for %s":                                                                       "%s 处于观察模式，而部署的 today: 没有服务 %s 的后端",
	`add it, as in today: {%s: ["10.9.1.1:8080"]}, or write enforcement: enforce`:                                                                       `添加它，例如 today: {%s: ["10.9.1.1:8080"]}，或者写 enforcement: enforce`,
	"remove it, or write enforcement: observe":                                                                                                          "删除它，或者写 enforcement: observe",
	"observeUntil goes with enforcement: observe, and this policy is enforced":                                                                          "observeUntil 须与 enforcement: observe 同用，而此策略是强制执行的",
	"observeUntil without observe":                                                                                                                      "有 observeUntil 而没有 observe",
	"observeUntil is the date at which enforcement: observe ends. Beside enforcement: enforce it would say that the policy is not enforced, and it is.": "observeUntil 是 enforcement: observe 结束的日期。写在 enforcement: enforce 旁边，会让人以为策略没有强制执行，而实际上已强制执行。",
	"a policy that is not enforced":                                                                                                                     "未强制执行的策略",
	"enforcement: observe lets pass to today's backends, and counts, what the policy refuses. Until its date nothing keeps this home's data where the policy says. It is for adopting Domicile; compare the counts (domicile plan --observed) and enforce.": "enforcement: observe 会把策略拒绝的请求放行到现有后端并计数。在其日期之前，没有任何机制使该归属的数据留在策略规定之处。它用于逐步采用 Domicile；请对照计数 (domicile plan --observed)，然后强制执行。",
	"an observation ends within 30 days": "观察将在 30 天内结束",
	"At the instant of observeUntil the policy is enforced, on all replicas at once: what passed until then is refused, and the sessions that it opened are closed. Look at what passes now.": "到 observeUntil 的那一刻，所有副本同时强制执行策略：此前放行的请求被拒绝，由此打开的会话被关闭。请查看现在放行了什么。",
	"an observation that has ended": "已结束的观察",
	"observeUntil has passed, so the policy is enforced. The file still says observe; write enforce, lest somebody believe it.": "observeUntil 已过，因此策略已强制执行。文件中仍写着 observe；请改为 enforce，以免有人信以为真。",
	"observation without a backend of today": "观察模式缺少现有后端",
	"What the policy of a home under observation refuses goes to the backends that served before Domicile: today: of the deployment, by service. Every service that a caller's request can ask for needs one.": "对处于观察模式的归属，策略拒绝的请求会送往采用 Domicile 之前提供服务的后端，即部署中按服务列出的 today:。调用方请求可能用到的每个服务都需要一个。",
}
