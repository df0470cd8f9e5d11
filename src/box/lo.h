/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOX_LO_H
#define BOX_LO_H

/** lo_up - bring up lo in the caller's network name space. Return: 0, -errno. */
int lo_up(void);

#endif
