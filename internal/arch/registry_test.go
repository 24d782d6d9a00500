package arch

import (
	"go/types"
	"path"
	"slices"
)

const hubPath = "internal/hub"

// registries finds struct fields and package variables outside internal/hub that
// can hold more than one connection. Locals and parameters are free: they pass
// snapshots around. The engine's table is free too: it is to sockets what a table
// of descriptors is to a kernel, and knows neither users nor topics.
func registries(m *module) (found []violation) {
	c := newConnections(m)
	free := fields(m, "internal/ws", "table")
	for _, v := range variables(m) {
		if !slices.Contains(free, v) && c.many(v.Type(), false, map[visit]bool{}) {
			found = append(found, m.at(v.Pos(), "%s %s is a second registry of connections; ask the manager instead",
				v.Name(), types.TypeString(v.Type(), types.RelativeTo(v.Pkg()))))
		}
	}
	return found
}

// variables returns the fields and package variables of all packages but the hub.
func variables(m *module) (all []*types.Var) {
	for _, p := range m.packages {
		if p.path == hubPath {
			continue
		}
		for _, obj := range p.info.Defs {
			if v, ok := obj.(*types.Var); ok && (v.IsField() || v.Parent() == p.types.Scope()) {
				all = append(all, v)
			}
		}
	}
	slices.SortFunc(all, func(a, b *types.Var) int { return int(a.Pos() - b.Pos()) })
	return all
}

// fields returns those of the struct called name in a package, none if it has none.
func fields(m *module, pkg, name string) []*types.Var {
	p := m.pkg(pkg)
	if p == nil {
		return nil
	}
	typ, ok := p.types.Scope().Lookup(name).(*types.TypeName)
	if !ok {
		return nil
	}
	s, ok := typ.Type().Underlying().(*types.Struct)
	if !ok {
		return nil
	}
	return slices.Collect(s.Fields())
}

// connections knows which types stand for a live connection.
type connections struct {
	m       *module
	manager types.Type       // *switchboard.Conn, nil if there is none yet
	net     *types.Interface // net.Conn, nil if nothing can be one
}

func newConnections(m *module) connections {
	c := connections{m: m}
	if p := m.pkg(""); p != nil {
		if obj, ok := p.types.Scope().Lookup("Conn").(*types.TypeName); ok {
			c.manager = types.NewPointer(obj.Type())
		}
	}
	if p, err := m.Import("net"); err == nil {
		c.net, _ = p.Scope().Lookup("Conn").Type().Underlying().(*types.Interface)
	}
	return c
}

// is reports whether a value of type n is a connection: the manager's, a net.Conn
// or anything that implements it, whatever the engine calls Conn, or an interface
// of this module that the manager's Conn fits.
func (c connections) is(n *types.Named) bool {
	pkg, name := n.Obj().Pkg(), n.Obj().Name()
	if pkg == nil {
		return false // error, comparable
	}
	rest, ours := inModule(pkg.Path())
	switch {
	case ours && name == "Conn" && (rest == "" || rest == "internal/ws"):
		return true
	case n.TypeParams().Len() > 0:
		return false // its type arguments tell
	case c.net != nil && (types.Implements(n, c.net) || types.Implements(types.NewPointer(n), c.net)):
		return true
	}
	iface, ok := n.Underlying().(*types.Interface)
	return ok && ours && c.fits(iface)
}

// fits reports whether the manager's Conn can hide behind iface. It fits any, but so
// does everything.
func (c connections) fits(iface *types.Interface) bool {
	return c.manager != nil && iface.NumMethods() > 0 && types.Implements(c.manager, iface)
}

// hides reports whether name is a container that nobody can see into.
func hides(name string) bool {
	return slices.Contains([]string{"sync.Map", "container/list.List", "container/ring.Ring"}, name)
}

// holdsOne reports whether name is a generic type that holds one value at most.
func holdsOne(name string) bool {
	return slices.Contains([]string{"sync/atomic.Pointer", "weak.Pointer", "unique.Handle"}, name)
}

// A visit keeps the walk through a recursive type finite.
type visit struct {
	typ  types.Type
	many bool
}

// many reports whether typ is a container of connections. in says that typ was
// reached through a map, slice, array, channel or type argument.
func (c connections) many(typ types.Type, in bool, seen map[visit]bool) bool {
	if seen[visit{typ, in}] {
		return false
	}
	seen[visit{typ, in}] = true
	switch u := types.Unalias(typ).(type) {
	case *types.Pointer:
		return c.many(u.Elem(), in, seen)
	case *types.Map:
		return c.many(u.Key(), true, seen) || c.many(u.Elem(), true, seen)
	case *types.Slice:
		return c.many(u.Elem(), true, seen)
	case *types.Array:
		return c.many(u.Elem(), true, seen)
	case *types.Chan:
		return c.many(u.Elem(), true, seen)
	case *types.Interface:
		return in && c.fits(u)
	case *types.Struct:
		for f := range u.Fields() {
			if c.many(f.Type(), in, seen) {
				return true
			}
		}
	case *types.Named:
		return c.namedMany(u, in, seen)
	}
	return false
}

func (c connections) namedMany(n *types.Named, in bool, seen map[visit]bool) bool {
	name := n.Obj().Name()
	if pkg := n.Obj().Pkg(); pkg != nil {
		name = pkg.Path() + "." + name
	}
	switch {
	case hides(name):
		return true
	case in && c.is(n):
		return true
	}
	for arg := range n.TypeArgs().Types() {
		if c.many(arg, in || !holdsOne(name), seen) {
			return true
		}
	}
	// A field of a named type is found where that type is declared; in a container
	// one connection inside the type makes many. An interface was judged by its name.
	return in && !types.IsInterface(n) && c.many(n.Underlying(), in, seen)
}

// hubs finds fields and variables that are a hub.Hub, or can lead to one, besides
// the one in the manager.
func hubs(m *module) (found []violation) {
	for _, v := range variables(m) {
		if reachesHub(v.Type(), map[types.Type]bool{}) {
			found = append(found, m.at(v.Pos(), "%s %s is a second hub; there is one, in the manager",
				v.Name(), types.TypeString(v.Type(), types.RelativeTo(v.Pkg()))))
		}
	}
	inManager := slices.IndexFunc(found, func(v violation) bool { return path.Dir(v.file) == "." })
	if inManager >= 0 {
		return slices.Delete(found, inManager, inManager+1)
	}
	if p := m.pkg(""); p != nil && p.types.Scope().Lookup("Manager") != nil {
		found = append(found, violation{file: ".", msg: "the manager has no hub"})
	}
	return found
}

// isHub reports whether n is the registry.
func isHub(n *types.Named) bool {
	return n.Obj().Name() == "Hub" && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == path.Join(root, hubPath)
}

// reachesHub reports whether typ is a hub or a container of hubs.
func reachesHub(typ types.Type, seen map[types.Type]bool) bool {
	if seen[typ] {
		return false
	}
	seen[typ] = true
	switch u := types.Unalias(typ).(type) {
	case *types.Pointer:
		return reachesHub(u.Elem(), seen)
	case *types.Map:
		return reachesHub(u.Key(), seen) || reachesHub(u.Elem(), seen)
	case *types.Slice:
		return reachesHub(u.Elem(), seen)
	case *types.Array:
		return reachesHub(u.Elem(), seen)
	case *types.Chan:
		return reachesHub(u.Elem(), seen)
	case *types.Named:
		if isHub(u) {
			return true
		}
		for arg := range u.TypeArgs().Types() {
			if reachesHub(arg, seen) {
				return true
			}
		}
	}
	return false
}
