/**
 * The beginning of a command line that runs the rest as a user who is not root, yet may read everything: the project may
 * lie below a directory that is closed to others, as /root is. What is root's to write, sockets among it, stays closed.
 */
export const asNobody = [
  "setpriv",
  "--reuid=65534",
  "--regid=65534",
  "--clear-groups",
  "--inh-caps=+dac_read_search",
  "--ambient-caps=+dac_read_search",
] as const;
