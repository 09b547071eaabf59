// The tab `queues`.
'use strict';

desk.tab('queues', () => ({}));
