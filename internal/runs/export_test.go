package runs

// Internal tells which names tests must find dropped from results.
var Internal = internal
