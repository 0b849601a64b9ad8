@rem `npm start` is `exec node ...`: a shell that stays would die of the Ctrl-C that its child survives.
@rem Windows has no exec, and needs none.
@%*
