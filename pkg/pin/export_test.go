package pin

// SignPayload signs what change makes of a payload.
func SignPayload(s *Signer, c Claims, change func(string) string) (string, error) {
	p, err := c.payload()
	if err != nil {
		return "", err
	}
	return s.sign([]byte(change(string(p))))
}
