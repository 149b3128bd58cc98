package lang

// zhInspect holds the sentences of pkg/cli/inspect.
var zhInspect = map[string]string{
	"REFUSED  A request with it is refused with %d %s: %s.":         "拒绝  持此令牌的请求会被拒绝,%d %s:%s。",
	"HOME %s  A request with it is one of a user at home in %s.":    "归属法域 %s  持此令牌的请求属于归属 %s 的用户。",
	"OPEN  The token alone does not say where its user is at home.": "未定  仅凭令牌无法得知其用户的归属法域。",
}
