-- KEYS token
return stored(KEYS[1]).record
