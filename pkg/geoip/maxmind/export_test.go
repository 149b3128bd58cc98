package maxmind

import "net/netip"

// Read checks a file's content, without a file.
func Read(data []byte) (country func(netip.Addr) string, err error) {
	db, err := read(data)
	if err != nil {
		return nil, err
	}
	return db.country, nil
}
