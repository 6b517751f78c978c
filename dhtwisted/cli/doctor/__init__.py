"""``devicehive doctor``: looks at everything that a server needs, changes nothing, and says what is wrong and how to mend it."""
