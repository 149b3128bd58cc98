// Package address turns host:port, as people write it, into Envoy's addresses.
package address

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Socket returns the address of hostPort, and whether its host is an IP address
// and no name. A port must be between 1 and 65535.
func Socket(hostPort string) (a *corev3.Address, isIP bool, err error) {
	i := strings.LastIndexByte(hostPort, ':')
	if i <= 0 {
		return nil, false, fmt.Errorf("address %q is not host:port", hostPort)
	}
	port, err := strconv.ParseUint(hostPort[i+1:], 10, 16)
	if err != nil || port == 0 {
		return nil, false, fmt.Errorf("address %q has no port between 1 and 65535", hostPort)
	}
	host := strings.Trim(hostPort[:i], "[]")
	_, ipErr := netip.ParseAddr(host)
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}, ipErr == nil, nil
}

// Host returns the host of hostPort, without brackets.
func Host(hostPort string) string {
	if i := strings.LastIndexByte(hostPort, ':'); i > 0 {
		return strings.Trim(hostPort[:i], "[]")
	}
	return hostPort
}
