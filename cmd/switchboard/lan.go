package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// lanAddress is an address of this machine in a private network, and how it was chosen.
type lanAddress struct {
	netip.Addr
	on     string   // the interface
	others []string // addresses that could have been taken too, each with its interface
}

// networkInterface is what the choice of an address looks at.
type networkInterface struct {
	name  string
	flags net.Flags
	addrs []netip.Addr
}

// errNoLAN says what would help.
var errNoLAN = errors.New("--lan: this machine has no address in a private network, such as 192.168.1.7; is it connected to one?")

// thisMachine returns the interfaces of this machine.
func thisMachine() ([]networkInterface, error) {
	found, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("--lan: %w", err)
	}
	var all []networkInterface
	for _, i := range found {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		one := networkInterface{name: i.Name, flags: i.Flags}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				one.addrs = append(one.addrs, prefix.Addr().Unmap())
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// chooseLAN takes the first private IPv4 address of an interface that is up. Networks that
// this machine only made for its own use, and tunnels, come last: no phone is in them.
func chooseLAN(all []networkInterface) (lanAddress, error) {
	type candidate struct {
		networkInterface
		addr netip.Addr
	}
	var found []candidate
	for _, i := range all {
		if i.flags&net.FlagUp == 0 || i.flags&net.FlagLoopback != 0 {
			continue
		}
		for _, a := range i.addrs {
			if a.Is4() && a.IsPrivate() {
				found = append(found, candidate{i, a})
			}
		}
	}
	if len(found) == 0 {
		return lanAddress{}, errNoLAN
	}
	rank := func(c candidate) int {
		switch {
		case c.flags&net.FlagPointToPoint != 0:
			return 2
		case ownNetwork(c.name):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(rank(a), rank(b)) })
	chosen := lanAddress{Addr: found[0].addr, on: found[0].name}
	for _, c := range found[1:] {
		chosen.others = append(chosen.others, fmt.Sprintf("%s (%s)", c.addr, c.name))
	}
	return chosen, nil
}

// ownNetwork reports whether an interface of that name leads to containers or virtual machines.
func ownNetwork(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{"docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "cni", "podman", "lxc", "lxd", "vethernet", "bridge"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
