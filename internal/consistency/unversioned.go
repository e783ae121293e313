package consistency

// warnOfVersions says on the log that no copy of the class gives a version, where versions are configured: once, and again
// only after a copy gave one.
func (ct *counts) warnOfVersions() {
	present, unversioned := 0, 0
	for i := range ct.columns {
		present += ct.columns[i].present
		unversioned += ct.columns[i].node.Unversioned
	}
	m := ct.class.memory
	switch {
	case ct.class.Version == nil || present == 0: // nothing was learned
	case unversioned < present:
		m.warnedOfVersions = false
	case !m.warnedOfVersions:
		m.warnedOfVersions = true
		ct.round.env.Log.Warn("no copy gives a version where the configuration says that it stands", "class", ct.class.Name, "copies", present)
	}
}
