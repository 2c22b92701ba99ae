package source

// Decompress is what archives are read through, for comparison.
var Decompress = decompress
