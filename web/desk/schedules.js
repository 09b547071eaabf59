// The tab `schedules`.
'use strict';

desk.tab('schedules', () => ({}));
