/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names below the pin directory, `splice.pin_path` + "/v" + HM_ABI. */
#ifndef HOMING_PINS_H
#define HOMING_PINS_H

#define HM_PIN_FLOWS "flows"
#define HM_PIN_CONTROL "control"
#define HM_PIN_SOURCES "sources"
#define HM_PIN_TARGETS "targets"
#define HM_PIN_EVENTS "events"
#define HM_PIN_VERDICT "verdict"
#define HM_PIN_GUARD_CONFIG "guard_config"
#define HM_PIN_GUARD_SERVICES "guard_services"
#define HM_PIN_GUARD_LISTS "guard_lists"
#define HM_PIN_GUARD_BANS "guard_bans"
#define HM_PIN_GUARD_RATES "guard_rates"
#define HM_PIN_GUARD_COUNTS "guard_counts"
#define HM_PIN_GUARD_EVENTS "guard_events"

#endif
