import { isErrno } from "../linux/index.ts";

/** To catch with: a kernel that does not know a kind of qdisc, filter, action or device has not loaded its module. net/sched/sch_api.c, cls_api.c, act_api.c: ENOENT */
export function explainMissing(module: string): (error: unknown) => never {
  return (error) => {
    if (!isErrno(error, "ENOENT", "EOPNOTSUPP")) throw error;
    throw error.with({ hint: `this kernel has no ${module}; load it with: modprobe ${module}` });
  };
}

/** The same of eBPF as a whole. */
export function explainMissingBpf(error: unknown): never {
  if (!isErrno(error, "EPERM", "ENOSYS")) throw error;
  throw error.with({
    hint: "ports take eBPF: a kernel with CONFIG_BPF_SYSCALL that is not locked down, the capability CAP_SYS_ADMIN, and before Linux 5.11: ulimit -l unlimited",
  });
}
