package probes

// batch is how many keys go into one pipeline.
const batch = 1000
