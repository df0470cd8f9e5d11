#include "job.h"
#include <errno.h>
int job_park(const struct spec *spec, json_t *out, struct hearth_err *err){return -ENOSYS;}
int job_resume(const struct spec *spec, json_t *out, struct hearth_err *err){return -ENOSYS;}
int job_wake(const struct spec *spec, json_t *out, struct hearth_err *err){return -ENOSYS;}
int job_verify(const struct spec *spec, json_t *out, struct hearth_err *err){return -ENOSYS;}
int job_probe(const struct spec *spec, json_t *out, struct hearth_err *err){return -ENOSYS;}
